"""Schedulers that are asked to take GPUs out: settings, and what they build."""
