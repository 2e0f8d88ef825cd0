"""The quickstart's job: measure the source of Python's own standard library."""
