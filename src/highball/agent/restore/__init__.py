"""What restores stand on: their plan, and how entries come into place without following a link."""
