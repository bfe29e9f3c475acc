"""Retention: its plans, and whose snapshots it governs."""
