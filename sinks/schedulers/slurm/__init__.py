"""Slurm: nodes are drained and returned, by its commands or by slurmrestd. It cannot drain a single GPU."""
