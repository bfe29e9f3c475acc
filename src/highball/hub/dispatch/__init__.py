"""How a queued run reaches the agent that carries it out, and what agents report of it."""
