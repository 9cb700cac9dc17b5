"""One ticket for each incident that needs a person: what it says, and where it is kept."""
