"""Retention: its plans, what makes it stand still, and whose snapshots it governs."""
