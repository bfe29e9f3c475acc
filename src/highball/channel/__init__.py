"""Where messages go: the port, and its kinds."""
