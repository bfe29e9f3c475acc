"""Carries out runs and answers questions on a host; knows nothing of the hub."""
