"""What is brought into a catalog: made of workflows/ and catalog/, packed, imported, compared."""
