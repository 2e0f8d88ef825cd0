"""The moves of a task: each one changes the tables and the scheduler's memory together."""
