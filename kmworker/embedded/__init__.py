"""One machine with nothing else installed: Valkey, a bus of streams, a supervisor."""
