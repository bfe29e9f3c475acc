"""What happened, as classes: runs, steps, events, snapshots; no behaviour."""
