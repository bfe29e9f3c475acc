"""The whole API of a hub, asked as strangers, friends and enemies would."""
