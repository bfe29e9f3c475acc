"""The agents: who is connected, what they are asked, what they are believed."""
