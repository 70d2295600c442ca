"""Rank policies, train policies that rank, train policies from rankings."""
