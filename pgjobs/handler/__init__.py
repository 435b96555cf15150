"""What the user writes, and what a handler is given."""
