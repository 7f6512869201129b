"""The strategies, one file each; ``search.registry`` knows them by name."""
