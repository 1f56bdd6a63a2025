"""Pictures that a request names by URL, fetched for providers that take bytes only."""
