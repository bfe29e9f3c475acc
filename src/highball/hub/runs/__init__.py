"""Runs: what is due, what may run, what was ordered, and what became of it."""
