"""Sealed secrets: kept, rotated, and handed out only where they count."""
