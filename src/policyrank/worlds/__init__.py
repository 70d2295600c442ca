"""Worlds: what policies act in. Each is imported by name."""
