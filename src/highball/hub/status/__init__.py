"""How things stand: health, days, repositories, and the one sentence about all of it."""
