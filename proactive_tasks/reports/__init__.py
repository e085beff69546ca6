"""What is told of an overlay: tables for a terminal, a page for a browser."""
