"""Every type of request, by its class."""

from kmworker.wire.requests.key_requested import KeyRequested

__all__ = ["KeyRequested"]
