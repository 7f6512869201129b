"""``--check``: the user's own command, run on what a model wrote, and what confines it."""
