"""Stateful logic, records in and records out. Pure: no I/O, no clock, no randomness."""
