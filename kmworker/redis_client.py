"""A Redis client that never repeats a write by itself.

The library would send a whole pipeline again after a timeout. Our scripts bear that, but
what is retried, and when, is the worker's to decide: it has the batch.
"""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kmworker.errors import SetupError
from kmworker.settings import redacted_url

__all__ = ["Client", "connect_to"]

Client = redis.Redis


def connect_to(url: str, timeout_s: float) -> Client:
    """Return a client; nothing is sent yet.

    Raises:
        SetupError: the client library does not take the URL.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except (ValueError, TypeError) as wrong:
        raise SetupError(
            f"{redacted_url(url)}: {wrong}", hint="compare it with config/kmworker.toml"
        ) from None
