"""The contract: records, topics, DCGM fields, the Xid catalogue, policy types. No I/O, no clock, no numpy."""
