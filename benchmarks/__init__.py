"""What the product costs, measured: each figure beside a baseline from the same run. `make bench` prints all."""
