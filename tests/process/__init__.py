"""Tests of `highball.process.child` and `highball.place.local` with real children."""
