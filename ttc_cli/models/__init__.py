"""Where model files come from, what they are, and whether they fit this machine."""
