"""Decides and records; never starts restic, ssh or a hook."""
