"""What a server refuses to a user, told with who was refused and which account may.

To a worker a refusal is an outage like any other: a person grants the right, and it goes on. A
command ends, and whoever called it has to know whom to call it as.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kmworker.cli.frame.accounts import needed_by
from kmworker.errors import KMWorkerError, SetupError

__all__ = ["as_refused", "refusing_in"]

# AMQP 0-9-1, 1.2: access-refused; and not-allowed, which is also said of a vhost's limits.
REFUSING: Final = frozenset({403, 530})
FOLDERS: Final = {"store": "config/redis/", "broker": "config/rabbitmq/"}
LOGIN: Final = "is the password right? an account that was given none cannot log in"


def as_refused(
    error: KMWorkerError,
    command: str,
    parameters: Mapping[str, Any],
    users: Mapping[str, str],
) -> SetupError | None:
    """Return a refusal as what a person has to repair; None if it is something else.

    Args:
        error: what a command ends with.
        command: its words, without the program's name.
        parameters: its options.
        users: as whom it asked the ``store`` and the ``broker``, as far as that is known.
    """
    server, is_login = refusing_in(error)
    if not server:
        return None
    user, said, hints = users.get(server, ""), str(error), []
    if user and not re.search(rf"\b{re.escape(user)}\b", said):
        said = f"as user {user}: {said}"
    command, accounts = needed_by(command, parameters)
    needed = getattr(accounts, server)
    if is_login:
        hints.append(LOGIN)
    elif needed:
        account = f"the {server}'s account {needed}, or one with its rights"
        hints.append(f"kmworker {command} needs {account}: see {FOLDERS[server]}")
    if isinstance(error, SetupError) and error.hint:
        hints.append(error.hint)
    return SetupError(said, "; ".join(hints))


def refusing_in(error: BaseException) -> tuple[str, bool]:
    """Return which server refuses with this error, empty for none, and whether it is the login."""
    return next((found for it in _causes(error) if (found := _refusing(it))), ("", False))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _refusing(cause: BaseException) -> tuple[str, bool] | None:
    from kmworker.store.server import (  # noqa: PLC0415  # seldom needed
        is_forbidden,
        is_nameless,
        is_stranger,
    )

    said = str(cause)
    if is_nameless(cause):
        # There is no password that could be wrong: whom to log in as is what is missing.
        return "store", False
    if is_stranger(cause):
        return "store", True
    if is_forbidden(cause):
        return "store", False
    if getattr(cause, "code", None) in REFUSING:
        if "Login was refused" in said:
            return "broker", True
        if "refused for user" in said:
            return "broker", False
    return None
