"""The web: the API for programs and the command line, and the door for agents. It calls the hub, never the database."""
