"""Emulated clouds: a provider's API over HTTP, behind it lab machines in a network that does what the API was told."""
