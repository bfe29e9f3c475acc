"""A hub that serves, its agent, and what is said between them."""
