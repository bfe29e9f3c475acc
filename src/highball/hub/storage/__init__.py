"""The database: its schema, its dialects, its upgrades, and who serves."""
