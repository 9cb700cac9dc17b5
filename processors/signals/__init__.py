"""The signals: one file each, found by themselves. See CONTRIBUTING for a new one in fifteen lines."""
