"""What hub and agent say to each other: the Assignment, a complete order for one run, and the messages of the wire.

An assignment carries facts, never command lines: the agent's own engine builds those. Secrets are carried as
references; the values of sealed ones travel beside the assignment and never lie on the agent's disk. On the
wire every message is one JSON text `{type, id, re?, at, body}` of at most LARGEST_FRAME bytes. Classes here are
lenient towards unknown fields and types, because the other side may be newer.
"""
