"""Effects: records to the world; stateless, each intent gets one result."""
