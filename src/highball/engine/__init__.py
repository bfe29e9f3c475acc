"""How bytes reach a repository; one room per engine."""
