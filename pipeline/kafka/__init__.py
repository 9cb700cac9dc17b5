"""The production log: Apache Kafka. Nothing outside this package knows that records live there."""
