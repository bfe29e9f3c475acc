"""Tests of `highball.secret`."""
