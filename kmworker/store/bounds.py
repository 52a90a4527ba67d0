"""Can clients that do not read fill this server? Others stop then, workers among them."""

from collections.abc import Mapping
from typing import Any, Final

import redis
from redis.exceptions import ResponseError

from kmworker.store.connection import store_errors
from kmworker.store.server import is_refused

__all__ = ["unbounded"]

REPLIES: Final = "client-output-buffer-limit"
ALL_TOGETHER: Final = "maxmemory-clients"
# A class of clients and its hard limit, its soft limit, and for how many seconds that may last.
CLASS_WORDS: Final = 4


def unbounded(client: redis.Redis) -> list[str] | None:
    """Return which of a server's settings leave open how much it keeps for its clients.

    Returns:
        Settings with their values; None where the server does not let us look.

    Raises:
        StoreUnavailable: it is not there.
    """
    untyped: Any = client
    with store_errors():
        try:
            found: Mapping[str, str] = untyped.config_get(REPLIES, ALL_TOGETHER)
        except ResponseError as error:
            if not is_refused(error):
                raise
            found = {}
    if REPLIES not in found:
        return None
    normal = _of_class(found[REPLIES], "normal")
    problems = [] if normal[1:2] not in (["0"], []) else [f"{REPLIES} {' '.join(normal)}"]
    if found.get(ALL_TOGETHER, "0") in {"0", "0%"}:
        problems.append(f"{ALL_TOGETHER} 0")
    return problems


def _of_class(limits: str, name: str) -> list[str]:
    words = limits.split()
    at = words.index(name) if name in words else len(words)
    return words[at : at + CLASS_WORDS]
