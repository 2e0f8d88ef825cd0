"""Assigned work goes out to workers; their reports and heartbeats come in."""
