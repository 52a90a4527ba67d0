"""Getting keys on the node that needs them.

It connects when a key is first asked for, once for each process: after a fork the child connects
anew, and threads ask at the same time by the one connection. Copies are kept by who says so; for
all others, who asks again gets it again.
"""

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from kmworker.bus.asker import Asker
from kmworker.client.asking import ASK_AGAIN_S, ENDS, AskingKeys, Inquire, KeyRefused, NoAnswer
from kmworker.client.connecting import broker_settings
from kmworker.client.copies import Copies, GivenUp, boottime
from kmworker.client.keeping import Keeping
from kmworker.client.trust_file import TrustFile
from kmworker.delegation.checking import DeliveredKey
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.domain.model import Item, Kind
from kmworker.errors import KMWorkerError
from kmworker.wire.requests.request import ASKED_FOR
from kmworker.wire.topology import Topology

__all__ = ["KeyRefused", "Keys", "NoAnswer", "item_of"]

log = logging.getLogger("kmworker.client")


class Keys:
    """Asks key servers for keys.

    ::

        with Keys(url, identity=Path("identity.json"), enrolment=Path("enrolment.json")) as keys:
            with keys.get(Item("p1", Kind.VOLUME, "1111")) as delivered:
                write(delivered.key.view)
    """

    def __init__(  # noqa: PLR0913  # three are needed, the others have defaults that suit
        self,
        url: str | Sequence[str],
        *,
        identity: Path,
        enrolment: Path,
        namespace: str = "kmworker",
        deadline_s: float = 30.0,
        keep: bool = False,
        grace_s: float = 0.0,
        on_given_up: Callable[[GivenUp], object] = lambda _given_up: None,
        inquire: Inquire | None = None,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            url: the broker, as this client's own user; or several nodes of one cluster.
            identity: this host's file, from ``kmworker client init``.
            enrolment: what ``kmworker client enroll`` has given for it.
            namespace: the installation's setting ``broker.namespace``.
            deadline_s: for an answer.
            keep: whether copies are kept, so that a key that is asked for again is there at once.
                The process listens then for what has ended, by a queue of its own.
            grace_s: how long a copy may be used beyond its `not_after`, while nobody answers.
            on_given_up: called with each copy that has ended, once it is wiped; by any thread.
            inquire: what asks in place of AMQP, given a name to be shown, and the queues of which
                one is to be listened to; the URL is not used then.

        Raises:
            SetupError: the URL is none, or a file cannot be used.
        """
        pinned = Identity.load(identity)
        believed = Enrolment.load(enrolment, pinned.public)
        self._asking = AskingKeys(
            inquire or partial(Asker, broker_settings(url, namespace)),
            Topology(namespace),
            pinned,
            believed,
            TrustFile(enrolment, believed),
            deadline_s=deadline_s,
            listens=keep,
            on_connected=self._connected,
        )
        self._keep, self._grace_s, self._on_given_up = keep, grace_s, on_given_up
        self._is_closed = False
        self._begin()
        _everywhere.add(self)

    def _begin(self) -> None:
        """Begin to keep copies in this process."""
        self._copies = Copies(self._grace_s)
        self._keeping = Keeping(
            self._copies,
            hear=self._asking.notices,
            check=self._asking.revocation,
            ask_anew=self._ask_anew,
            on_given_up=self._on_given_up,
            leave=self._asking.close,
        )

    def _begin_in_child(self) -> None:
        # Locks are as some thread of the parent had them, which is not here to let them go. Nobody
        # else has this memory.
        self._copies.wipe_unlocked()
        self._asking.begin()
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker, and wipe what is kept."""
        self._is_closed = True
        self._keeping.stop()
        self._copies.clear()
        self._asking.close()

    def _connected(self) -> None:
        """On a new connection, ask what may be kept: nothing was heard in between."""
        self._copies.doubt_all()
        self._keeping.hurry()

    def get(
        self, item: Item, *, purpose: str | None = None, deadline_s: float | None = None
    ) -> DeliveredKey:
        """Return the key of an item, in a buffer that is wiped at the end of its ``with``.

        Args:
            item: whose key.
            purpose: what for; it is recorded, and decides nothing.
            deadline_s: in place of the one given before.

        Raises:
            KeyRefused: a key server says no.
            NoAnswer: none has answered in time.
            PermanentError: with `Reason.MALFORMED`: no item has such an id, or project, or the
                purpose is too long; nothing was sent.
            Untrusted: what has answered is none that this client may believe.
            SetupError: the broker refuses this client.
        """
        if not self._keep or self._is_closed:
            delivered, _at_s = self._asking.asked(item, deadline_s, purpose=purpose)
            return delivered
        kept = self._copies.usable(item)
        if kept is not None:
            return kept
        try:
            return self._asked_and_kept(item, deadline_s, purpose=purpose)
        except KeyRefused as refused:
            if refused.reason in ENDS:
                self._keeping.tell(self._copies.give_up(item, refused.reason))
            raise
        except NoAnswer:
            kept = self._copies.usable(item, is_unanswered=True)
            if kept is None:
                raise
            return kept

    def _asked_and_kept(
        self,
        item: Item,
        deadline_s: float | None,
        *,
        purpose: str | None = None,
        held: str | None = None,
    ) -> DeliveredKey:
        ask = partial(self._asking.asked, item, deadline_s, purpose=purpose, held=held)
        delivered, is_kept = self._once(item, ask)
        if not is_kept:
            # It has ended since it was delivered, unless two key servers' clocks differ by that.
            delivered.key.wipe()
            delivered, _is_kept = self._once(item, ask)
        self._keeping.start()
        if self._is_closed:
            self._copies.clear()
        return delivered

    def _once(
        self, item: Item, ask: Callable[[], tuple[DeliveredKey, float]]
    ) -> tuple[DeliveredKey, bool]:
        # The answer may be held back: its time counts from here.
        since = boottime()
        delivered, at_s = ask()
        return delivered, self._copies.keep(item, delivered, at_s, since)

    def _ask_anew(self, item: Item, key_id: str) -> GivenUp | None:
        """Ask whether a copy may be kept; return what is given up."""
        try:
            self._asked_and_kept(item, ASK_AGAIN_S, held=key_id).key.wipe()
        except KeyRefused as refused:
            if refused.reason in ENDS:
                return self._copies.give_up(item, refused.reason)
            self._copies.ask_later(item)
        except KMWorkerError as error:
            log.debug("copy of %s not asked for anew: %s", item.ref, error)
            self._copies.ask_later(item)
        return None


_everywhere: "weakref.WeakSet[Keys]" = weakref.WeakSet()


def _begin_in_child() -> None:
    for keys in list(_everywhere):
        keys._begin_in_child()  # noqa: SLF001  # it is this module's


os.register_at_fork(after_in_child=_begin_in_child)


def item_of(project: str, ref: str) -> Item | None:
    """Return the item that a ref names, ``kind:id``; None: nothing that has a key."""
    kind, _colon, identifier = ref.partition(":")
    known = {it.value: it for it in ASKED_FOR}
    return Item(project, Kind(known[kind]), identifier) if kind in known and identifier else None
