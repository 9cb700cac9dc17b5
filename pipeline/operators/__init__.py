"""What operators say to a running fleet, over Kafka or beside an embedded pipeline, and what they see of it."""
