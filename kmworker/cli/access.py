"""What commands reach: the settings, the store and the broker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from kmworker.bus.choice import Publishing, open_dead_queue, open_publisher
from kmworker.bus.dead_queue import DeadQueue
from kmworker.cli.output import note
from kmworker.cli.program import Invocation
from kmworker.errors import BrokerUnavailable, NotFound, SetupError
from kmworker.logs import configure_logs
from kmworker.settings import KeyringSettings, Settings, load_settings
from kmworker.store.connection import connect
from kmworker.store.names import Names
from kmworker.store.views import Views

if TYPE_CHECKING:
    from kmworker.crypto import KeyringVault

__all__ = [
    "dead_queue_of", "declared", "publisher_of", "settings_of", "vault_if_any", "vault_of",
    "views_of",
]  # fmt: skip

NOT_FOUND: Final = 404


def settings_of(context: typer.Context, *, wants_instance: bool = True) -> Settings:
    """Load the settings, and have libraries say on standard error what they have to say.

    Args:
        context: of the command.
        wants_instance: use this user's `kmworker up` where no server is configured.

    Raises:
        SetupError: they are not as they should be.
    """
    invocation = context.find_object(Invocation) or Invocation()
    settings = load_settings(invocation.config)
    invocation.settings = settings
    level = settings.log.level
    configure_logs("debug" if level == "debug" else "warning", settings.log.format)
    # What is configured wins, be it only one of the two.
    if wants_instance and settings.broker.url is None and settings.store.url is None:
        return _of_instance(settings)
    return settings


def _of_instance(settings: Settings) -> Settings:
    from kmworker.embedded import running_instance  # noqa: PLC0415  # where nothing is configured

    instance = running_instance(os.environ)
    if instance is None:
        return settings
    note(f"no broker or store is configured: using kmworker up in {instance.data_dir}")
    keyring = settings.keyring.model_copy(update={"path": Path(instance.keyring)})
    return settings.model_copy(
        update={
            "broker": settings.broker.model_copy(update={"url": instance.url}),
            "store": settings.store.model_copy(update={"url": instance.url}),
            "keyring": keyring,
        }
    )


def views_of(settings: Settings) -> Views:
    """Return the store as commands see it; nothing is sent to it yet.

    Raises:
        SetupError: no store is configured.
    """
    return Views(connect(settings.store), Names(settings.store.prefix))


def vault_of(settings: KeyringSettings) -> "KeyringVault":
    """Open the keyring.

    Raises:
        SetupError: it cannot be used.
    """
    from kmworker.crypto import Keyring, KeyringVault  # noqa: PLC0415  # few commands need keys

    return KeyringVault(Keyring.load(settings.path))


def vault_if_any(settings: KeyringSettings) -> "KeyringVault | None":
    """Open the keyring if this user has one that can be read."""
    try:
        return vault_of(settings)
    except SetupError:
        return None


@contextmanager
def publisher_of(settings: Settings, name: str) -> Iterator[Publishing]:
    """Connect to the broker for publishing.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there, or refuses us.
        NotFound: it is there, but no worker ever was.
    """
    publisher = open_publisher(settings.broker, f"kmworker {name}")
    try:
        with declared():
            publisher.open()
            yield publisher
    finally:
        publisher.close()


@contextmanager
def dead_queue_of(settings: Settings) -> Iterator[tuple[DeadQueue, int]]:
    """Connect to the dead letters; gives how many there are, too.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there, or refuses us.
        NotFound: it is there, but no worker ever was.
    """
    queue = open_dead_queue(settings.broker, "kmworker dead")
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
