"""Due times, the runs that they become, and the queue's rules."""
