"""Hosts that exist already, reached by SSH."""
