"""The Document of a hub: objects, revisions, and their addresses."""
