"""What a worker does with its store, as commands on keys; a hand-written account may lack any.

A test takes each right from the shipped account and sees it named, so none is left out here.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from kmworker.store.names import Names

__all__ = ["rights_asked", "rights_named"]

PROJECT: Final = "doctor"
WORKER: Final = "doctor"
WAITING: Final = ("waiting", "waiting:shares")
OPEN: Final = (
    "items", "keys", "scopes", "lineage", "holders", "stats", "outbox", "grants",
    "unrecorded", *WAITING,
)  # fmt: skip
KEPT: Final = ("keys:due", "tombstones")
SECRET: Final = ("deks", "parked", "expired")

OnKeys = tuple[Sequence[str], Sequence[str]]
"""A command, and the keys that it is run on, which come second."""

# With what follows the key; some servers ask whether the arguments are enough, too.
OF_PROJECT: Final[Sequence[OnKeys]] = (
    (("HGET", "f"), (*OPEN, "parked", "expired")),
    (("HEXISTS", "f"), (*OPEN, *SECRET)),
    (("HMGET", "f"), ("items", "keys", "scopes", "holders", "grants", "stats")),
    (("HSCAN", "0"), ("items", "keys", "scopes", "outbox", "parked", "grants", "unrecorded")),
    (("HLEN",), ("items", "keys", "scopes", "outbox", "unrecorded", *WAITING, "parked")),
    (("HKEYS",), ("waiting:shares",)),
    (("HSET", "f", "v"), (*OPEN, *SECRET)),
    (("HINCRBY", "f", "1"), ("clones", "holders", "stats", "waiting:shares")),
    (("HDEL", "f"), (*WAITING, "outbox", "unrecorded", "parked", "expired")),
    (("ZADD", "0", "m"), ("lineage", *KEPT, "waiting:deadlines", "waiting:sources")),
    (("ZREM", "m"), ("lineage", "keys:due", "waiting:deadlines", "waiting:sources")),
    (("ZRANGEBYLEX", "-", "+"), ("waiting:sources",)),
    (("ZRANGEBYSCORE", "0", "1"), ("keys:due", "waiting:deadlines")),
    (("ZCARD",), ("keys:due",)),
    (("LINDEX", "-1"), ("endings",)),
    (("RPUSH", "v"), ("endings",)),
    (("TYPE",), (*OPEN, "clones", "endings", *KEPT, *SECRET)),
    (("MGET",), ("commits", "fence")),
    (("INCR",), ("commits",)),
)
AT_THE_TOP: Final[Sequence[OnKeys]] = (
    (("EXISTS",), ("projects",)),
    (("LINDEX", "-1"), ("endings",)),
    (("SADD", "m"), ("projects",)),
    (("SCARD",), ("projects",)),
    (("SSCAN", "0"), ("projects",)),
    (("HGETALL",), ("keyring", "layout")),
    (("HGET", "f"), ("keyring", "commits", "crowded")),
    (("HSET", "f", "v"), ("keyring", "layout", "totals", "queues", "crowded")),
    (("HSETNX", "f", "v"), ("keyring",)),
    (("HMGET", "f"), ("commits", "wraps")),
    (("HINCRBY", "f", "1"), ("commits", "attempts", "dead", "wraps")),
    (("HDEL", "f"), ("commits", "attempts", "crowded", "unrecorded")),
    (("HSCAN", "0"), ("crowded", "unrecorded")),
    (("EXPIRE", "1"), ("attempts",)),
    (("ZADD", "0", "m"), ("due", "outboxes", "workers")),
    (("ZREM", "m"), ("due", "outboxes")),
    (("ZSCORE", "m"), ("due",)),
    (("ZINCRBY", "1", "m"), ("due",)),
    (("ZRANGEBYSCORE", "0", "1"), ("due", "outboxes")),
    (("ZREVRANGE", "0", "0"), ("workers",)),
    (("ZREMRANGEBYSCORE", "0", "1"), ("workers",)),
    (("XADD", "*", "f", "v"), ("feed", "minutes")),
)
OF_NO_KEY: Final = (
    ("TIME",),
    ("CONFIG", "GET", "appendonly"),
    ("ACL", "DRYRUN", "default", "PING"),
    ("CLIENT", "NO-EVICT", "ON"),
)


def _needed(names: Names) -> Iterator[tuple[str, ...]]:
    """Give a command of each kind that a worker runs on each kind of key."""
    for command, keys in OF_PROJECT:
        yield from ((command[0], names.of(PROJECT, key), *command[1:]) for key in keys)
    for command, keys in AT_THE_TOP:
        yield from ((command[0], names.top(key), *command[1:]) for key in keys)
    ours, lease = names.worker(WORKER), names.lease(WORKER)
    yield from (("HGETALL", ours), ("HINCRBY", ours, "f", "1"), ("HSET", ours, "f", "v"))
    yield from (("EXPIRE", ours, "1"), ("SET", lease, "v"), ("PEXPIRE", lease, "1"))
    yield from OF_NO_KEY


def rights_named(refused: Sequence[int], names: Names) -> list[str]:
    """Name what ``rights.lua`` has found refused, the key's owner left out."""
    commands = list(_needed(names))
    return [_named(commands[number - 1]) for number in refused]


def rights_asked(names: Names) -> list[str]:
    """Return what ``rights.lua`` is asked."""
    commands = _needed(names)
    return list(chain.from_iterable((str(len(words)), *words) for words in commands))


def _named(command: tuple[str, ...]) -> str:
    if command in OF_NO_KEY:
        return " ".join(command[:2])
    name, key, *_rest = command
    return f"{name} on {key.replace('{' + PROJECT + '}', '{P}').replace(f':{WORKER}', ':<id>')}"
