"""The spool of an agent: what its sources saw lies on disk until Kafka has it, in two lanes, faults and telemetry."""
