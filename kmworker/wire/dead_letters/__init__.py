"""Events that cannot be processed, on their way out and back in the hands of a person."""
