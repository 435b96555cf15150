"""How the database is reached, and kept reachable."""
