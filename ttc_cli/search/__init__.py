"""Search strategies, one file each, written against the engine and verifier protocols alone."""
