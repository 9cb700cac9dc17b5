"""Node side: hardware and kernel to observations; runs node commands."""
