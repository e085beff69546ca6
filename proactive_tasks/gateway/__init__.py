"""What runs on a gateway, and how it is brought there: user-data, configuration, the agent and its session."""
