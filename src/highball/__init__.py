"""Highball: a self-hosted control plane for backups with restic and rsync."""

__version__ = "0.1.0"
