"""Tries what a worker does with its store, with a worker's own rights, and leaves no trace.

No server tells an ordinary user what that user may do, or whether its memory is full. So a script
without any work is sent in both ways that workers send it, and asks, before it does nothing,
for the rights that its writes would need; and a key that is not there is set only if it is.
"""

import secrets
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError

from kmworker.errors import SetupError
from kmworker.store.client import Client
from kmworker.store.connection import translate
from kmworker.store.names import Names
from kmworker.store.rights import rights_asked, rights_named
from kmworker.store.scripts import Scripts
from kmworker.store.server import is_forbidden, is_refused
from kmworker.store.writes import COMMIT_KEYS

__all__ = ["try_rights", "try_write"]

# No project's: nothing is written to it.
NOBODY = "doctor"
MAX_NAMED = 5
REFUSALS = {
    "OUTOFMEMORY": (
        "the store is full",
        "raise maxmemory; it keeps what it has, and takes nothing more",
    ),
    "READONLY": ("the store is a replica", "name the primary in store.url"),
    "MISCONF": ("the store cannot write to its disk", "look into its log: the disk may be full"),
    "NOREPLICAS": ("the store lacks replicas", "start them, or lower min-replicas-to-write"),
}


def try_rights(client: Client, names: Names) -> None:
    """Send a commit without any work, by digest and as a text, and ask for all other rights.

    Raises:
        SetupError: this user may not what a worker has to.
        StoreUnavailable: the store does not answer.
    """
    keys, scripts = names.all_of(NOBODY, *COMMIT_KEYS), Scripts(client)
    for command, script in scripts.both_ways("commit"):
        try:
            _send(client, command, script, len(keys), *keys, 1, 1)
        except NoScriptError:
            # It would be sent as a text then, which is tried next.
            continue
        except ResponseError as error:
            if is_refused(error) or is_forbidden(error):
                raise SetupError(f"{command}: {_said(error)}") from None
            raise translate(error) from error
    (refused,) = scripts.run([("rights", (), rights_asked(names))])
    if refused:
        found = rights_named(refused, names)
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise SetupError(f"it may not {', '.join(found[:MAX_NAMED])}{more}")


def try_write(client: Client, names: Names) -> None:
    """Set a key if it is there, which it is not.

    Raises:
        SetupError: the store takes no writes, or not this user's.
        StoreUnavailable: the store does not answer.
    """
    try:
        _send(client, "SET", names.lease(f"doctor-{secrets.token_hex(8)}"), "", "XX", "PX", 1)
    except ResponseError as error:
        said = _said(error)
        for word, (what, hint) in REFUSALS.items():
            # The library takes the first word of those that it knows away.
            if said.startswith(word) or type(error).__name__.upper().startswith(word):
                raise SetupError(f"{what}: {said}", hint) from None
        raise SetupError(f"a write is refused: {said}") from None


def _said(error: ResponseError) -> str:
    return str(translate(error)).removeprefix("the store refuses: ")


def _send(client: Any, *command: object) -> None:  # noqa: ANN401  # its types leave out raw commands
    try:
        client.execute_command(*command)
    except ResponseError:
        raise
    except RedisError as error:
        raise translate(error) from error
