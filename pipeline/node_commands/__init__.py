"""What a node is told to do: who may say so, what was heard, and that nothing is done twice."""
