"""Schedulers as an operator configures them."""
