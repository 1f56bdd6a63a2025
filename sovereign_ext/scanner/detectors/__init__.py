"""One file for each service whose credentials are known."""
