"""The vault: what is sealed opens in its own place, with its own key, and nowhere else."""
