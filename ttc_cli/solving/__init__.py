"""What solves a request: choosing, loading, searching, keeping; commands and Python share it."""
