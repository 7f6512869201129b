"""Settings: where they come from, who may set what, and how their files are changed."""
