"""What `treadle bench` can measure: each function runs one scenario and returns its report."""
