"""Who may come in, what they may do there, and that nothing by which they prove themselves ever shows."""
