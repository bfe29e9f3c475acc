"""What a path source says, what is found of it, and what is left out."""
