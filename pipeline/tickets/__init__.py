"""Tickets as an operator configures them: the table `[tickets]`, and the sink that it makes."""
