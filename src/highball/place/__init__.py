"""Where a child runs and where files lie."""
