"""Tests of the rule for success."""
