"""Housekeeping by the clock: day partitions."""
