"""How long-lived parts tell the time, wake, log and stop."""
