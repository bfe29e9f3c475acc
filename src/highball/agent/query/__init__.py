"""Questions that are no runs: answered, never recorded."""
