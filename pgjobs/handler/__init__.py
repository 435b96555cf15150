"""Handlers: tasks, held jobs, what they raise."""
