"""The embedded engine's endpoint: the scheduler's REST, resource manager and catalog, as far as this package uses them.

It answers as a ProActive server 13.0.3 was seen to, so that the same scripts and clients work against either. It is
the embedded engine, not ProActive.
"""
