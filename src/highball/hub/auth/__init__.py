"""Who may come in: users, sessions, passwords, second factors, providers."""
