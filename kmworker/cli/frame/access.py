"""What commands reach: the settings, the store and the broker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final

import typer

from kmworker.bootstrap.brokers import Publishing, open_dead_queue, open_publisher
from kmworker.bus.dead_queue import DeadQueue
from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.terminal.logs import configure_logs
from kmworker.cli.terminal.output import note
from kmworker.errors import BrokerUnavailable, NotFound, SetupError, StoreUnavailable
from kmworker.settings import (
    FILE_VARIABLE,
    SEARCHED,
    KeyringSettings,
    Settings,
    load_settings,
    working_folder,
)
from kmworker.settings.instance import running_instance
from kmworker.store.admission import enter
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names

if TYPE_CHECKING:
    from kmworker.crypto import Keyring, KeyringCustody

__all__ = [
    "custody_if_any", "custody_in", "custody_of", "dead_queue_of", "declared", "keyring_at",
    "now_of", "publisher_of", "settings_of", "views_of",
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
    invocation.command = _words_of(context)
    invocation.parameters = context.params
    settings = load_settings(invocation.config)
    invocation.settings = settings
    if invocation.config is None and FILE_VARIABLE not in os.environ:
        _tell_found(settings)
    level = settings.log.level
    configure_logs("debug" if level == "debug" else "warning", settings.log.format)
    # What is configured wins, be it only one of the two.
    if wants_instance and not settings.broker.addresses and settings.store.url is None:
        return _of_instance(settings)
    return settings


def _words_of(context: typer.Context) -> str:
    """Return what was called, without the program: that is named as it was started."""
    words: list[str] = []
    it: Any = context
    while it.parent is not None:
        words.insert(0, it.info_name)
        it = it.parent
    return " ".join(words)


def _tell_found(settings: Settings) -> None:
    """Name the file that depends on where a command is called: nobody else has named it."""
    found = working_folder() / SEARCHED[0]
    if settings.config_path == found:
        note(f"settings from {found}")
    elif os.path.exists(found):  # noqa: PTH110  # where nothing may be seen, nothing is there
        note(f"not used: {found}: it, or its folder, may be written by others")


def _of_instance(settings: Settings) -> Settings:
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


def now_of(views: Views) -> float:
    """Return the store's time, by which workers report; Unix seconds.

    Ours where its user may not ask: whether the store is there at all, the next request says.
    """
    try:
        return views.clock_s()
    except StoreUnavailable:
        return time()


def keyring_at(path: Path) -> "Keyring":
    """Load a keyring into a process whose memory nobody else can read, nor a core dump keep.

    Raises:
        SetupError: it cannot be used, or the system refuses to close the process.
    """
    from kmworker.crypto import Keyring  # noqa: PLC0415  # few commands need keys
    from kmworker.crypto.hardening import harden_process  # noqa: PLC0415  # as above

    harden_process()
    return Keyring.load(path)


def custody_of(settings: KeyringSettings) -> "KeyringCustody":
    """Open the keyring, for no installation yet.

    Raises:
        SetupError: it cannot be used.
    """
    from kmworker.crypto import KeyringCustody  # noqa: PLC0415  # few commands need keys

    return KeyringCustody(keyring_at(settings.path))


def custody_in(settings: Settings, views: Views) -> "KeyringCustody":
    """Open the keyring for the installation whose store this is.

    Raises:
        NotFound: no worker has used the store yet.
        SetupError: the keyring cannot be used, or the store's records are not of it.
    """
    custody = custody_of(settings.keyring)
    enter(custody, views)
    return custody


def custody_if_any(settings: Settings, views: Views) -> "KeyringCustody | None":
    """Open the keyring as `custody_in` does, if this user has one that can be read."""
    try:
        return custody_in(settings, views)
    except (NotFound, SetupError):
        return None


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
