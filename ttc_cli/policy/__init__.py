"""Difficulty, stopping and the adaptive loop: how much to spend, on what, and why."""
