"""REST in: what the SDKs ask over HTTP, and the health of the engine."""
