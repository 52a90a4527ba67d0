"""What `kmworker dead` does: which dead letters are meant, looked through, shown and settled."""
