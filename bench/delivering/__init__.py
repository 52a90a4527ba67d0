"""How many keys are delivered, how fast, and beside what: python -m bench.delivering."""
