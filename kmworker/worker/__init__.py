"""The one way of an event: from the queue to its acknowledgement."""
