"""Enqueues jobs."""
