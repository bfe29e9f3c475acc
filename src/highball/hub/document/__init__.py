"""What is declared, in the database: objects and their revisions."""
