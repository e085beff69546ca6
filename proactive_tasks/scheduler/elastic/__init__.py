"""Sites that come and go with a scheduler's node sources."""
