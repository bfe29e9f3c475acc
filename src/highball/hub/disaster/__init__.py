"""The ways back when the hub or its database is lost."""
