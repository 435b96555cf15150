"""What a job is in Python."""
