"""What happened is shown and pushed: results to those who wait, runs to those who look."""
