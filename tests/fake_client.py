"""A client of a store in memory that has all that the worker's client has."""

import fakeredis

from kmworker.redis_client import Client

__all__ = ["FakeClient"]


class FakeClient(fakeredis.FakeRedis, Client):
    """fakeredis: no server, no disk, the same scripts."""
