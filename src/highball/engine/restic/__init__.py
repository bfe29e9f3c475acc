"""restic: its program, its addresses, what it is called with, and what its output means."""
