"""Queued becomes assigned: a pure core that chooses, and the loop that commits its choices."""
