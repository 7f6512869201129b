"""Settings: where they come from, whose hand may set what, and how their files are changed."""
