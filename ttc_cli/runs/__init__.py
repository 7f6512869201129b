"""Kept runs: every event of a run, in full and in order; found again, and resumed."""
