"""Runs as they are kept: each event of a run, in full and in order; found again, and taken up."""
