"""Engines grow and score branches of a prompt; ``base`` holds the protocols they share."""
