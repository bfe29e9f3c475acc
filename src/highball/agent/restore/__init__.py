"""Restores: the plan, restic's part, and what is moved into place without following a link."""
