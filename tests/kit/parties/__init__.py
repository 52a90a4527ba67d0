"""Others on the same servers: honest ones, and those that do harm by being there."""
