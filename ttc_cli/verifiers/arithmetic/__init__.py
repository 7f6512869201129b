"""Recomputes what a solution claims of sums."""
