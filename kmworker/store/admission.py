"""May this worker use this store? Asked at start and after each reconnection.

A store that forgets an acknowledged write, one that has forgotten some, or one whose
records belong to another keyring, would sooner or later give one item two keys.
"""

from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

from kmworker.clock import Clock, rfc3339
from kmworker.domain.keks import KekStates, KeyringFlaw, KeyringTrouble
from kmworker.domain.values import value
from kmworker.errors import NotFound, RootAway, SetupError, StoreUnavailable, UnknownKek
from kmworker.store.client import Gate
from kmworker.store.connection import store_errors
from kmworker.store.durability import refuse_volatile
from kmworker.store.inspection import Views, text_of
from kmworker.store.kek_states import (
    STATES,
    KekCustody,
    check_values_in,
    keyring_fields,
    refuse_missing,
    refuse_other_keyring,
    states_in,
)
from kmworker.store.layout import (
    MINIMUM,
    NUMBER,
    RESTORE,
    Layout,
    LayoutAltered,
    LayoutCustody,
    check_values,
    disbelieved,
    fields_of,
    former,
    layout_in,
    other_keyring,
    refuse_layout,
)
from kmworker.store.names import Names
from kmworker.store.rollback import History
from kmworker.store.scripts import Scripts
from kmworker.store.server import greeting_of, refuse_replica

__all__ = [
    "Admission", "Recognised", "enter", "installed", "is_of_layout_1", "missing", "recognised",
    "source_in",
]  # fmt: skip

log = structlog.get_logger()


@value
class Recognised:
    """A store that is in use, as it says it is."""

    layout: Layout
    source: str
    """CloudEvents' `source` of its announcements."""
    keks: KekStates


class Admission:
    """Looks at durability, at whose records the store holds, and whether it has all of them.

    Attributes:
        history: what this worker remembers of the store's commits.
        keks: what may be done with each KEK, once it is admitted.
        keyring_trouble: what keeps its changed keyring file from being taken up, None for nothing.
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
        custody: KekCustody,
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
        self.keks: KekStates | None = None
        self.keyring_trouble: KeyringTrouble | None = None
        self.is_newer = False
        self._installation = ""
        self._states = ""
        """As `km:keyring` had them when they were looked at last."""
        self._said: set[str] = set()
        """Of the keyring, so that each thing is said once."""
        self._gate = gate

    def admit(self) -> str:
        """Return the CloudEvents source that this store's announcements carry.

        The first worker's setting is remembered: announcements are repeated with the same
        bytes for as long as the store lives, whatever the setting says later.

        Raises:
            SetupError: the store may not be used.
            StoreUnavailable: it is not there, or is a replica.
            UnknownKek: the keyring lacks the active KEK; its file is read again the next time.
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

    def admit_after_a_worker(self, has_projects: Callable[[], bool]) -> str:
        """Do as `admit` does, for who may not make a store its own.

        Raises:
            NotFound: no worker has given an item its key yet; and as `admit` does.
        """
        if not has_projects():
            hint = "it goes on with the first one; or are store.url and store.prefix others?"
            raise NotFound("no item in this store has a key yet", hint)
        return self.admit()

    @property
    def installation(self) -> str:
        """Return the installation's id, once it is admitted."""
        return self._installation

    def may_open(self, kek_id: str) -> bool:
        """Return whether anything may be under this KEK, by what the store says now.

        Raises:
            StoreUnavailable: the store does not say.
            SetupError: what it says is not as it was sealed.
        """
        return kek_id in self._keks_now().opening

    def follow(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; to be called now and then.

        Raises:
            StoreUnavailable: the store does not say.
            SetupError: what it says is not as it was sealed, or is older than what it has said.
            UnknownKek: the keyring lacks the active KEK.
        """
        self._use(self._keks_now())

    def follow_if_changed(self, states: bytes | None) -> None:
        """Do as `follow` does if this, out of `km:keyring`, is not what was taken up last."""
        if self.keks is not None and states is not None and states.decode() != self._states:
            self.follow()

    def pass_fence(self, fence: int) -> None:
        """Take up what has become of KEKs, where a project is fenced against ours.

        Raises:
            StoreUnavailable: `km:keyring` is older than the fence; and as `follow` does.
        """
        self.follow()
        if self._custody.term < fence:
            key = self._names.top("keyring")
            raise StoreUnavailable(
                f"a project is fenced with term {fence}, and {key} says {self._custody.term}:"
                " somebody has put an older one back: restore that hash from a backup"
            )

    def _keks_now(self) -> KekStates:
        key = self._names.top("keyring")
        with store_errors():
            keyring = text_of(self._client.hgetall(key))
        self._states = keyring.get(STATES, "")
        return states_in(keyring, self._installation, self._custody, key)

    def _use(self, keks: KekStates) -> None:
        before = self.keks
        if before is not None and keks.version < before.version:
            key = self._names.top("keyring")
            raise SetupError(
                f"{key} says less of KEKs than it did: version {keks.version}, not"
                f" {before.version}",
                hint="find out who wrote to the store; if it was restored, start the worker again",
            )
        self.keks = keks
        self._take_up()
        self._custody.use(keks.active, keks.opening, keks.term)
        if before is not None and before.term != keks.term:
            log.info("KEK active", kek_id=keks.active, term=keks.term)
        ours = self._custody.kek_ids
        for kek_id in sorted(keks.opening - ours):
            hint = (
                "put it into the keyring file: this process must have it before it is active; if it"
                f" was removed: kmworker keyring restore {kek_id}"
            )
            self._say_once("KEK missing", kek_id=kek_id, hint=hint)
        for kek_id in sorted(ours - keks.keks.keys()):
            hint = "have the store know it: kmworker keyring add"
            self._say_once("KEK not known to the store", kek_id=kek_id, hint=hint)

    def _take_up(self) -> bool:
        """Take the keyring file as it is now; return whether it has changed."""
        try:
            has_changed = self._custody.take_up()
        except (RootAway, SetupError) as problem:
            # What it has opened it has: a root that goes away stops nobody.
            hint = problem.hint if isinstance(problem, SetupError) else "it is asked again"
            self._say_once("keyring file not taken up", detail=str(problem), hint=hint)
            is_away = isinstance(problem, RootAway)
            self._in_trouble(KeyringFlaw.ROOT_AWAY if is_away else KeyringFlaw.UNUSABLE)
            return False
        self.keyring_trouble = None
        return has_changed

    def _in_trouble(self, flaw: KeyringFlaw) -> None:
        """Note what others are to see of it, which is not what a root has said."""
        before = self.keyring_trouble
        since_s = self._clock.now() if before is None else before.since_s
        self.keyring_trouble = KeyringTrouble(flaw, since_s)

    def _say_once(self, what: str, **fields: str) -> None:
        said = repr((what, fields))
        if said not in self._said:
            self._said.add(said)
            log.warning(what, **fields)

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
            # In this order, as in `enter`.
            pipeline.hgetall(self._names.top("keyring"))
            pipeline.hgetall(self._names.top("layout"))
            keyring, layout = map(text_of, pipeline.execute())
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
        more = keyring_fields(self._source, ours.installation, self._custody, ours.changed_at)
        argv = ["", "", len(fields), *fields, *more]
        Scripts(self._client).run([("layout", [layout, keyring], argv)])

    def _verified(self, layout: Mapping[str, str], keyring: Mapping[str, str]) -> str:
        try:
            found = recognised(layout, keyring, self._custody, self._names)
        except UnknownKek:
            # Of a backup's KEK, put back while this waits for it.
            if not self._take_up():
                raise
            found = recognised(layout, keyring, self._custody, self._names)
        self._installation = found.layout.installation
        self._states = keyring[STATES]
        self._custody.enter(self._installation)
        self.is_newer = found.layout.is_newer
        self._use(found.keks)
        return found.source


def enter(custody: KekCustody, views: Views) -> Recognised:
    """Have a command's custody work for the installation whose store this is.

    Raises:
        NotFound: no worker has used the store yet.
        SetupError: its records are not of our keyring, or of another layout.
        UnknownKek: the keyring lacks the active KEK.
    """
    # In this order: between the two a KEK may be retired that the layout was under before.
    keyring, layout = views.keyring(), views.fields("layout")
    if not layout and not keyring:
        raise not_used_yet()
    found = recognised(layout, keyring, custody, views.names)
    custody.enter(found.layout.installation)
    custody.use(found.keks.active, found.keks.opening, found.keks.term)
    return found


def recognised(
    layout: Mapping[str, str], keyring: Mapping[str, str], custody: KekCustody, names: Names
) -> Recognised:
    """Return what a store says of itself that is in use.

    Args:
        layout: its `km:layout`.
        keyring: its `km:keyring`.
        custody: ours.
        names: for messages.

    Raises:
        SetupError: its records are not of our keyring, or of another layout.
        UnknownKek: we lack a KEK that its layout is under.
    """
    ours = installed(layout, keyring, custody, names)
    refuse_layout(ours)
    source = source_in(keyring, ours.installation, custody, names)
    keks = states_in(keyring, ours.installation, custody, names.top("keyring"))
    if (altered := disbelieved(layout, keks.opening, names.top("layout"))) is not None:
        raise altered
    return Recognised(ours, source, keks)


def installed(
    layout: Mapping[str, str], keyring: Mapping[str, str], custody: LayoutCustody, names: Names
) -> Layout:
    """Return the layout of a store that is in use, whether or not this release can work on it.

    Raises:
        LayoutAltered: it is gone, or not as it was sealed.
        SetupError: the store is not of our keyring, or of layout 1.
        UnknownKek: we lack the KEK that it is under.
    """
    if layout:
        key = names.top("layout")
        try:
            return layout_in(layout, custody, key)
        except UnknownKek as unknown:
            ours = check_values(custody, layout["installation"], keyring.get("source", ""))
            if any(ours.get(it) == value for it, value in check_values_in(keyring).items()):
                # It is our store, and what we lack is on its way.
                raise
            raise other_keyring(unknown.kek_id, key) from None
    if is_of_layout_1(keyring, custody, names):
        raise former(1)
    raise missing(names.top("layout"))


def is_of_layout_1(keyring: Mapping[str, str], custody: LayoutCustody, names: Names) -> bool:
    """Return whether `km:keyring` is as layout 1 had it, which had no `km:layout`.

    Its check values knew of no installation.

    Raises:
        SetupError: the store's records are under a KEK that our keyring lacks.
    """
    ours, theirs = custody.check_values(keyring.get("source", "")), check_values_in(keyring)
    refuse_missing(theirs, ours, names.top("keyring"))
    return bool(theirs) and all(ours[kek_id] == value for kek_id, value in theirs.items())


def not_used_yet() -> NotFound:
    """Return the error that says that a store is nobody's yet."""
    return NotFound("no worker has used this store yet", "check store.url and store.prefix")


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
