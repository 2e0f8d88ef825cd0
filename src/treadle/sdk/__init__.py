"""What user code holds: the app, its tasks, runs, and the worker that executes them."""
