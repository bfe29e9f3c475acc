"""Child processes: started with what they need and no more, drained, ended politely."""
