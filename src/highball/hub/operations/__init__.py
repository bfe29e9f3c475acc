"""Everything that can be asked of a hub or ordered of it, a subject a file."""
