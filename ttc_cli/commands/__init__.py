"""One thin file a command: parse, call, print. Each imports what it needs inside its function."""
