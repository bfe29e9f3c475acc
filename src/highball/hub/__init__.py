"""Decides and records; never starts an engine, ssh or a hook."""
