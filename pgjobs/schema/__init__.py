"""Installing and upgrading the tables and functions."""
