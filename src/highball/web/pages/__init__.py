"""The pages, one module per place of the rail. A page asks the hub what the API asks it, and shows it."""
