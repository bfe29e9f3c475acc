"""Journeys: the real `highball` program, started as its user would, with real restic on real repositories.

Each file is about one promise. Nothing is imported from Highball: what a user cannot see is not tested here.
"""
