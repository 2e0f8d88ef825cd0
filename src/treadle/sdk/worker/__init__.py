"""The worker: takes deliveries from one engine session, runs the code, reports what came of it."""
