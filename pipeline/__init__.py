"""Wiring: configuration, topology, the runner and its logs, replay, command line."""
