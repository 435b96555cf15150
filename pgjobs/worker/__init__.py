"""What claims jobs and runs them."""
