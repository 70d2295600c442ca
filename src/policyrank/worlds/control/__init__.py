"""Worlds of control with a known truth, for policies that act by continuous moves."""
