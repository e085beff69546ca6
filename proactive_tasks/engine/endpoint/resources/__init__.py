"""The endpoint's resource manager: nodes, node sources, their feed."""
