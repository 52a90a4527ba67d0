"""The broker, as commands reach it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kmworker.bootstrap.brokers import Publishing, open_dead_queue, open_publisher
from kmworker.bus.dead_queue import DeadQueue
from kmworker.errors import BrokerUnavailable, NotFound
from kmworker.settings import Settings

__all__ = ["dead_queue_of", "declared", "publisher_of"]

NOT_FOUND: Final = 404


@contextmanager
def publisher_of(
    settings: Settings, name: str, *, signs: bool = False, user: str | None = None
) -> Iterator[Publishing]:
    """Connect to the broker for publishing; `open_publisher` says what is signed.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there, or refuses us.
        NotFound: it is there, but no worker ever was.
    """
    publisher = open_publisher(settings.broker, f"kmworker {name}", signs=signs, user=user)
    try:
        with declared():
            publisher.open()
            yield publisher
    finally:
        publisher.close()


@contextmanager
def dead_queue_of(settings: Settings, user: str | None = None) -> Iterator[tuple[DeadQueue, int]]:
    """Connect to the dead letters; gives how many there are, too.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there, or refuses us.
        NotFound: it is there, but no worker ever was.
    """
    queue = open_dead_queue(settings.broker, "kmworker dead", user)
    try:
        with declared():
            yield queue, queue.open()
    except Exception:
        # Nothing is under way: it can be left as it should be.
        queue.close()
        raise
    except BaseException:
        # Ctrl-C, in the middle of a frame perhaps: no more is said on that connection.
        queue.abandon()
        raise
    queue.close()


@contextmanager
def declared() -> Iterator[None]:
    """Tell a broker without our names from one that is away: only workers declare them.

    Raises:
        NotFound: an exchange or queue is not there.
    """
    try:
        yield
    except BrokerUnavailable as error:
        cause: Any = error.__cause__
        if getattr(cause, "code", None) != NOT_FOUND:
            raise
        hint = "a worker declares it: start one with kmworker worker"
        raise NotFound(f"not on the broker: {cause.reply_text}", hint) from None
