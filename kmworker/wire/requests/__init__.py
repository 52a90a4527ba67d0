"""The wire, from clients: what they ask. What signs it is in `kmworker.delegation`."""
