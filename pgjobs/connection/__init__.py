"""Connections that are made again when lost."""
