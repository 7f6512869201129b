"""Sessions around an engine's: thoughts, schemas, candidates of an earlier run."""
