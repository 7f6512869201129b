"""Checks the sums that a solution writes out."""
