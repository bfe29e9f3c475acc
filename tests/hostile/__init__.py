"""What strangers, thieves and liars cannot do: each attack with real processes."""
