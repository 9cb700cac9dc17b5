"""Schedulers are told which GPUs to leave alone, and say what still runs there."""
