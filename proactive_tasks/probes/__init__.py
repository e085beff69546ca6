"""Probes of links: round-trip time, loss, path MTU, and who answers when."""
