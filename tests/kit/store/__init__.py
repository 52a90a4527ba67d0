"""A store that a suite can look into, and what is written to it."""
