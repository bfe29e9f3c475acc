"""Tests of the restic engine: what it prints, and restic itself in three versions."""
