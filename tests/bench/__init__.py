"""What a login costs the server: `python -m tests.bench`."""
