"""What the processes of a hub share: news, tickets, limits, and who is connected."""
