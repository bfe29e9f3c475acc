"""Tests of the hub's database, its objects and the record, on a real SQLite file."""
