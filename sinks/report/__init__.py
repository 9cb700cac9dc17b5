"""The fleet report: records of a window of time in, one struct out, and that struct as text, JSON or HTML."""
