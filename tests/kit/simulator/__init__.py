"""A worker's whole world in memory, where everything that can go wrong can be told to."""
