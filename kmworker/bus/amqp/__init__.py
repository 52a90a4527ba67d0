"""A py-amqp with fewer calls: frames, written and read many at once, and one connection."""
