"""How well the stages judge: three suites over months of a fleet's life, seeded, and storms. `make judge` runs them."""
