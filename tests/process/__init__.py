"""Tests of `highball.process` and `highball.reach` with real children."""
