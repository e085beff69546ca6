"""Certificate authority of an overlay: one per overlay, keys of leaves never leave their gateway."""
