"""What key servers send to clients; it is signed, and sealed, in `kmworker.delegation`."""
