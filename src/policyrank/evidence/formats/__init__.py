"""Layouts of results files that other tools write, told by their content."""
