"""What is made from the code and committed: JSON Schemas, reference pages, examples. `pipeline.generate` writes it."""
