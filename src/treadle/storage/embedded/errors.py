class EmbeddedPostgresError(RuntimeError):
    """The embedded server can't do what was asked; the message says what a person can do about it."""
