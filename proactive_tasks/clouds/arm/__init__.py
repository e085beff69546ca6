"""Azure's resource manager, as `clouds.azure` uses it."""
