"""The connection to the store, and what its errors mean."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as NoAnswer

from kmworker.errors import PermanentError, Reason, ScriptFailed, SetupError, StoreUnavailable
from kmworker.settings import StoreSettings
from kmworker.store.client import Client, Gate, connect_to, greet_server, server_in
from kmworker.store.server import greeting_in, is_nameless, is_refused

__all__ = ["Client", "connect", "is_no_number", "store_errors", "translate", "wrong_type_in"]

# A server quotes what it was sent; the names of commands alone are told.
QUOTED: Final = re.compile(r"with args beginning with.*|'(?![a-z_|-]{1,32}')[^']*'", re.DOTALL)
# Longer than any word: a key, a password, a record.
LONG_WORD: Final = re.compile(r"[^\s{}:|]{41,}")
MAX_SAID: Final = 200
# How the client library begins to speak of a server that it did not reach.
NOT_CONNECTED: Final = re.compile(r"Error (\S+ )?connecting to \S+\. ?")
# How the Lua in Redis begins to speak of a fault in a script.
SCRIPT_FAULT: Final = re.compile(r"(ERR )?(Error (running|compiling) script\b|@?user_script:\d+:)")


def connect(settings: StoreSettings, gate: Gate | None = None) -> Client:
    """Return a client for the store; nothing is sent yet.

    Args:
        settings: the store's.
        gate: outside of which the client must not connect.

    Raises:
        SetupError: there is no usable `store.url`.
    """
    if settings.url is None:
        raise SetupError(
            "no store is configured",
            hint="set store.url in kmworker.toml or KMWORKER_STORE__URL, e.g. redis://127.0.0.1;"
            " or have all in one: kmworker up",
        )
    return connect_to(settings.url, settings.timeout_s, _greeting(gate))


def _greeting(gate: Gate | None) -> Callable[[Any], None]:
    """Return what is done on each new connection, before anything is asked on it."""

    def greet(connection: Any) -> None:  # noqa: ANN401  # the library's, untyped
        if gate is None:
            greet_server(connection)
        else:
            gate.on_connect(connection)
        try:
            greeting = _answer(connection, "HELLO")
            if greeting is not None:
                greeting_in(greeting)
        except SetupError:
            connection.disconnect()
            raise
        if gate is not None:
            # Those who read and go slow are closed first where memory is short (maxmemory-clients).
            _answer(connection, "CLIENT", "NO-EVICT", "ON")

    return greet


def _answer(connection: Any, *command: str) -> Any:  # noqa: ANN401  # the library's, untyped
    """Return the answer to a command, None where it is refused as such."""
    connection.send_command(*command)
    try:
        return connection.read_response()
    except ResponseError as error:
        if not is_refused(error):
            raise
        return None


def wrong_type_in(replies: Iterable[Any]) -> RedisError | None:
    """Return the error of what was written to a key that someone has put another type into.

    Raises:
        StoreUnavailable: it was not written for another reason.
    """
    for reply in replies:
        if isinstance(reply, RedisError):
            if "WRONGTYPE" not in str(reply):
                raise translate(reply)
            return reply
    return None


def translate(error: RedisError, *, of_project: bool = False) -> Exception:
    """Return the error that says what happens to the event.

    What a store or anything before it may answer is without end. So an error is the event's
    only where it is known to be; all else is a trouble of the store's, and is waited for.

    Args:
        error: the client library's.
        of_project: it is the answer to a script, or to questions, on one project's keys.
    """
    # In a pipeline, the client library puts the command first.
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    if of_project and isinstance(error, ResponseError):
        if text.startswith("WRONGTYPE"):
            # From within a script it ends with the script's digest.
            said = text.partition(" script: ")[0]
            return PermanentError(
                Reason.INTEGRITY, f"the store holds a key of the wrong type: {said}"
            )
        if SCRIPT_FAULT.match(text):
            return ScriptFailed(f"a script failed: {_said(text)}")
    trouble = StoreUnavailable(_outage(error, text))
    # Of answers that came together, it is raised where the error itself never was.
    trouble.__cause__ = error
    return trouble


def _outage(error: RedisError, text: str) -> str:
    """Say what is wrong with the store; only what it answers is a refusal."""
    if is_nameless(error):
        return "the store wants a user and password: name them in store.url"
    if isinstance(error, ConnectionLost | NoAnswer) and not _is_answer(error):
        cause = NOT_CONNECTED.sub("", text).removesuffix(".")
        # A sentence's capital, not an abbreviation's.
        cause = cause[:1].lower() + cause[1:] if cause[1:2].islower() else cause
        told = ": ".join(part for part in (server_in(error), cause) if part)
        return f"cannot reach the store: {_printable(told)}" if told else "the store is gone"
    return f"the store refuses: {_said(text)}" if text else "the store is gone"


def _is_answer(error: RedisError) -> bool:
    """Return whether the server answered: the library takes some of that for a lost connection."""
    return bool(error.status_code) or isinstance(error, AuthenticationError)


def _said(text: str) -> str:
    """Return a server's words without what they quote: it may be what must not be shown."""
    return _printable(LONG_WORD.sub("…", QUOTED.sub("…", text)))


def _printable(told: str) -> str:
    return "".join(it if it.isprintable() else "?" for it in told)[:MAX_SAID]


def is_no_number(error: RedisError) -> bool:
    """Return whether a counter could not be counted up because someone wrote to it."""
    return "not an integer" in str(error) or "would overflow" in str(error)


@contextmanager
def store_errors(*, of_project: bool = False) -> Iterator[None]:
    """Translate the client library's errors; of_project: as `translate` has it."""
    try:
        yield
    except RedisError as error:
        raise translate(error, of_project=of_project) from error
