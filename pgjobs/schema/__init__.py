"""Installs and upgrades the tables and functions."""
