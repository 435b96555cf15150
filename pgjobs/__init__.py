"""A job queue inside PostgreSQL, for Python."""
