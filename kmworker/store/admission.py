"""May this worker use this store? Asked at start and after each reconnection.

A store that forgets an acknowledged write, one that has forgotten some, or one whose
records belong to another keyring, would sooner or later give one item two keys.
"""

from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

from kmworker.clock import Clock, rfc3339
from kmworker.errors import NotFound, SetupError
from kmworker.store.client import Gate
from kmworker.store.connection import store_errors
from kmworker.store.durability import refuse_volatile
from kmworker.store.inspection import Views, text_of
from kmworker.store.layout import (
    MINIMUM,
    NUMBER,
    RESTORE,
    Layout,
    LayoutAltered,
    LayoutCustody,
    check_values,
    fields_of,
    former,
    keyring_fields,
    layout_in,
    other_keyring,
    refuse_layout,
)
from kmworker.store.names import Names
from kmworker.store.rollback import History
from kmworker.store.scripts import Scripts
from kmworker.store.server import greeting_of, refuse_replica

__all__ = [
    "Admission", "check_values_in", "enter", "installed", "is_of_layout_1", "missing", "recognised",
    "refuse_other_keyring", "source_in",
]  # fmt: skip

log = structlog.get_logger()

CHECK = "check:"


class Admission:
    """Looks at durability, at whose records the store holds, and whether it has all of them.

    Attributes:
        history: what this worker remembers of the store's commits.
        is_newer: whether the store's layout is newer than this release's, which may use it.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: redis.Redis,
        names: Names,
        *,
        source: str,
        allow_volatile: bool,
        is_vouched: bool,
        custody: LayoutCustody,
        worker_id: str,
        gate: Gate,
        new_id: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._source = source
        self._allow_volatile = allow_volatile
        self._is_vouched = is_vouched
        self._custody = custody
        self._new_id = new_id
        self._clock = clock
        self.history = History(client, names, worker_id=worker_id, is_tolerant=allow_volatile)
        self.is_newer = False
        self._gate = gate

    def admit(self) -> str:
        """Return the CloudEvents source that this store's announcements carry.

        The first worker's setting is remembered: announcements are repeated with the same
        bytes for as long as the store lives, whatever the setting says later.

        Raises:
            SetupError: the store may not be used.
            StoreUnavailable: it is not there, or is a replica.
        """
        with self._gate.opened():
            # The name may lead elsewhere by now; a connection stays with whom it was made to.
            self._client.drop_connections()
            with store_errors():
                refuse_replica(greeting_of(self._client))
            self._look_at_durability()
            with store_errors():
                found = self._read()
                if not any(found):
                    self._register()
                    found = self._read()
                source = self._verified(*found)
                self.history.check()
                return source

    def is_registered(self, kek_id: str) -> bool:
        """Return whether a worker with this KEK was ever admitted.

        Raises:
            StoreUnavailable: the store does not say.
        """
        with store_errors():
            return bool(self._client.hexists(self._names.top("keyring"), CHECK + kek_id))

    def _look_at_durability(self) -> None:
        if self._allow_volatile:
            return
        if self._is_vouched:
            log.warning(
                "durability is not looked at",
                detail="the operator answers for what the store acknowledges",
                hint='store.durability is "vouched"',
            )
            return
        refuse_volatile(self._client, self._names)

    def _read(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what the store says of its layout and of its keyring."""
        layout = keyring = {}
        # Written in one step: who has seen one of them sees both at the second look.
        for _ in range(2):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hgetall(self._names.top("layout"))
            pipeline.hgetall(self._names.top("keyring"))
            layout, keyring = map(text_of, pipeline.execute())
            if bool(layout) == bool(keyring):
                break
        return layout, keyring

    def _register(self) -> None:
        """Write whose store this is; of two workers that start at once, one is first."""
        layout, keyring = self._names.top("layout"), self._names.top("keyring")
        projects, commits = self._names.top("projects"), self._names.top("commits")
        if self._client.scard(projects) or self._client.exists(commits):
            raise SetupError(
                f"the store has records, but {layout} and {keyring} are missing",
                hint="restore both hashes from a backup of the store",
            )
        ours = Layout(NUMBER, MINIMUM, self._new_id(), rfc3339(self._clock.now()))
        fields = fields_of(ours, self._custody)
        more = keyring_fields(self._source, ours.installation, self._custody)
        argv = ["", "", len(fields), *fields, *more]
        Scripts(self._client).run([("layout", [layout, keyring], argv)])

    def _verified(self, layout: Mapping[str, str], keyring: Mapping[str, str]) -> str:
        ours, source = recognised(layout, keyring, self._custody, self._names)
        values = check_values(self._custody, ours.installation, source)
        theirs = check_values_in(keyring)
        for kek_id in values.keys() - theirs.keys():
            self._client.hsetnx(self._names.top("keyring"), CHECK + kek_id, values[kek_id])
        if values.keys() != theirs.keys():
            self._client.hset(self._names.top("keyring"), "kek_ids", " ".join(sorted(values)))
            # Whoever registered at the same moment with another keyring shows now.
            return self._verified(*self._read())
        self._custody.enter(ours.installation)
        self.is_newer = ours.is_newer
        return source


def enter(custody: LayoutCustody, views: Views) -> None:
    """Have a command's custody work for the installation whose store this is.

    Raises:
        NotFound: no worker has used the store yet.
        SetupError: its records are not of our keyring, or of another layout.
    """
    layout, keyring = views.fields("layout"), views.keyring()
    if not layout and not keyring:
        hint = "check store.url and store.prefix"
        raise NotFound("no worker has used this store yet", hint)
    ours, _source = recognised(layout, keyring, custody, views.names)
    custody.enter(ours.installation)


def recognised(
    layout: Mapping[str, str], keyring: Mapping[str, str], custody: LayoutCustody, names: Names
) -> tuple[Layout, str]:
    """Return the layout of a store that is in use, and the source of its announcements.

    Args:
        layout: its `km:layout`.
        keyring: its `km:keyring`.
        custody: ours.
        names: for messages.

    Raises:
        SetupError: its records are not of our keyring, or of another layout.
    """
    ours = installed(layout, keyring, custody, names)
    refuse_layout(ours)
    return ours, source_in(keyring, ours.installation, custody, names)


def installed(
    layout: Mapping[str, str], keyring: Mapping[str, str], custody: LayoutCustody, names: Names
) -> Layout:
    """Return the layout of a store that is in use, whether or not this release can work on it.

    Raises:
        LayoutAltered: it is gone, or not as it was sealed.
        SetupError: the store is not of our keyring, or of layout 1.
    """
    if layout:
        return layout_in(layout, custody, names.top("layout"))
    if is_of_layout_1(keyring, custody):
        raise former(1)
    raise missing(names.top("layout"))


def is_of_layout_1(keyring: Mapping[str, str], custody: LayoutCustody) -> bool:
    """Return whether `km:keyring` is as layout 1 had it, which had no `km:layout`.

    Its check values knew of no installation.

    Raises:
        SetupError: the store's records are under a KEK that our keyring lacks.
    """
    ours, theirs = custody.check_values(keyring.get("source", "")), check_values_in(keyring)
    refuse_other_keyring({k: v for k, v in theirs.items() if k not in ours}, ours, "")
    return bool(theirs) and all(ours[kek_id] == value for kek_id, value in theirs.items())


def missing(key: str) -> LayoutAltered:
    """Return the error that says that a hash is gone which every store in use has."""
    return LayoutAltered(f"the store has records, but {key} is missing", RESTORE)


def source_in(
    keyring: Mapping[str, str], installation: str, custody: LayoutCustody, names: Names
) -> str:
    """Return the CloudEvents source of a store's announcements, which its check values bind.

    Raises:
        LayoutAltered: `km:keyring` is gone.
        SetupError: it is of another keyring, or someone wrote there.
    """
    key, source = names.top("keyring"), keyring.get("source", "")
    ours, theirs = check_values(custody, installation, source), check_values_in(keyring)
    refuse_other_keyring(theirs, ours, key)
    # Taken away, they must not be written again beside whatever source stands there then.
    if not keyring:
        raise missing(key)
    if not theirs:
        raise SetupError(f"{key} has been altered: no check value tells whose it is", RESTORE)
    return source


def check_values_in(found: Mapping[str, str]) -> dict[str, str]:
    """Return, per kek_id, the check value that a store's keyring hash holds."""
    return {
        name.removeprefix(CHECK): value for name, value in found.items() if name.startswith(CHECK)
    }


def refuse_other_keyring(theirs: Mapping[str, str], ours: Mapping[str, str], key: str) -> None:
    """Compare the check values in a store with those of our keyring.

    Args:
        theirs: as in the store.
        ours: as our keyring makes them.
        key: where the store's are, for messages.

    Raises:
        SetupError: the store's records are under a KEK that we lack, or someone wrote there.
    """
    for kek_id, value in theirs.items():
        if kek_id not in ours:
            raise other_keyring(kek_id, key)
        if value != ours[kek_id]:
            raise SetupError(
                f"{key} has been altered: its source does not fit its check value for KEK {kek_id}",
                RESTORE,
            )
