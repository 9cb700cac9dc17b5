"""What the cases of GPUs ask their nodes to do, signed and sent: at least once, under ids that agents do but once."""
