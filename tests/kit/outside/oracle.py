"""What the contract says must come of a set of events, told without running anything.

The workers may see the events in any order, and the answer may not depend on it.
So this model has no order either: an item's fate follows from its own event and
its source's fate. Only phases are ordered: what is sent in a later phase is sent
after everything in the earlier ones has settled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.kit.outside.words import ABSENT, Ask, Encryption, Event, Item

Phases = Sequence[Sequence[Event]]

LISTED: Final = {
    "aes-xts-plain64": (512, (256, 512)),
    "aes-ctr-plain64": (256, (128, 192, 256)),
    "aes-cbc-essiv:sha256": (256, (128, 192, 256)),
    "aes-256-gcm": (256, (256,)),
}
"""Some of the shipped ciphers: default key size, allowed key sizes."""
POSITIONAL_STREAM: Final = frozenset({"aes-ctr-plain64"})
DEFAULT: Final = Encryption("aes-xts-plain64", 512)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an item must come to."""

    item: Item
    source: Item | None
    disposition: str
    encryption: Encryption | None
    data_action: str
    causes: frozenset[tuple[str, str, str]]
    key_owner: Item | None
    """The item that brought this item's key-id into the world."""
    scope_owner: Item | None
    """The item that brought this item's scope into the world."""
    reencrypt_from: Item | None = None
    """The item whose key-id the data has to be re-encrypted from."""
    cloned_from: Item | None = None
    guard: str | None = None
    node: str | None = None

    @property
    def has_key(self) -> bool:
        return self.key_owner is not None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that must come of the phases."""

    assigned: dict[Item, Expected]
    refused: dict[Event, str]
    waiting: frozenset[Event] = frozenset()
    """Whose source does not come, and whose deadline is far away."""

    @property
    def patient(self) -> "Outlook":
        """The same where nobody's deadline passes: what lacks its source goes on waiting."""
        lost = {event for event, reason in self.refused.items() if reason == "source-missing"}
        refused = {event: reason for event, reason in self.refused.items() if event not in lost}
        return Outlook(self.assigned, refused, frozenset(lost))

    @property
    def projects(self) -> list[str]:
        """Every project in which something could be on record or wait."""
        events = [*self.refused, *self.waiting]
        named = {item.project for item in self.assigned} | {event.item.project for event in events}
        return sorted(named | {event.source.project for event in events if event.source})


def foresee(phases: Phases) -> Outlook:
    """Tell every item's fate and every refused event's reason."""
    model = _Model(phases)
    outcomes = {item: model.outcome(item) for item in model.births}
    assigned = {item: it for item, it in outcomes.items() if isinstance(it, Expected)}
    refused = {
        event: reason
        for phase in phases
        for event in phase
        if (reason := _refusal(event, outcomes[event.item])) is not None
    }
    return Outlook(assigned, refused)


def complete(asked: Ask, source: Encryption | None) -> Encryption:
    """Fill in a key size that the event leaves open."""
    if asked.key_bits is not None:
        return Encryption(asked.cipher, asked.key_bits)
    if source is not None and source.cipher == asked.cipher:
        return source
    return Encryption(asked.cipher, LISTED.get(asked.cipher, (0,))[0])


def is_allowed(encryption: Encryption) -> bool:
    return encryption.key_bits in LISTED[encryption.cipher][1]


def is_as_it_is(event: Event) -> bool:
    """Whether the item is its source's very data, and so under its source's key."""
    if event.item.kind == "replica":
        silent = event.transport is None and event.encryption is ABSENT
        return silent or event.transport in {"block", "file"}
    return event.item.kind == "snapshot" or event.copy == "shared"


def judge(event: Event, source: Expected | None, *, is_doubted: bool = False) -> Expected | str:
    """Decide one event, its source's fate known: the table of the contract.

    `is_doubted`: the source's key is suspended or compromised.
    """
    own = None
    if isinstance(event.encryption, Ask):
        if event.encryption.cipher not in LISTED:
            return "policy-denied"
        own = complete(event.encryption, None if source is None else source.encryption)
        if not is_allowed(own):
            return "policy-denied"
    if event.source is None:
        return _none(event, None) if event.encryption is None else _create(event, own or DEFAULT)
    kind = _as_it_is if is_as_it_is(event) else _rewritten
    return kind(event, own, source, is_doubted=is_doubted)


def _as_it_is(
    event: Event, own: Encryption | None, source: Expected | None, *, is_doubted: bool
) -> Expected | str:
    theirs = None if source is None else source.encryption
    if source is None or theirs is None:
        if own is not None:
            return "conflict"
        return _none(event, None if event.encryption is None else "source-unencrypted")
    if event.encryption is None or own not in {None, theirs}:
        return "conflict"
    if source.item.project != event.item.project:
        return "policy-denied"
    # Its bytes are what they are: a request for a key of its own has no object.
    requested = event.requested if event.requested in {"clone", "reuse"} else None
    return replace(
        _derive(event, source, requested or _rule(event)),
        guard=_doubt(theirs, is_doubted=is_doubted),
    )


def _rewritten(
    event: Event, own: Encryption | None, source: Expected | None, *, is_doubted: bool
) -> Expected | str:
    theirs = None if source is None else source.encryption
    if event.encryption is None:
        return _none(event, None) if theirs is None else "policy-denied"
    if source is None:
        return _create(event, own or DEFAULT, "encrypt")
    is_abroad = source.item.project != event.item.project
    if theirs is None:
        guard = "cross-project" if is_abroad else "source-unencrypted"
        return replace(_create(event, own or DEFAULT, "encrypt"), guard=guard)
    stands = _doubt(theirs, is_doubted=is_doubted)
    if own not in {None, theirs}:
        stands = "encryption-differs"
    if is_abroad:
        stands = "cross-project"
    if stands is not None:
        return replace(_derive(event, source, "create", own), guard=stands)
    return _derive(event, source, event.requested or _rule(event))


def _doubt(theirs: Encryption, *, is_doubted: bool) -> str | None:
    """The guard that stands against sharing a key with such data."""
    if theirs.cipher in POSITIONAL_STREAM:
        return "iv-repeats"
    return "source-not-active" if is_doubted else None


def contradicts(event: Event, fate: Expected) -> bool:
    """Whether the event says something else of an assigned item than was recorded."""
    if event.cause[:2] in {cause[:2] for cause in fate.causes}:
        return False
    asked, used = event.encryption, fate.encryption
    if asked is None:
        agrees = used is None
    elif isinstance(asked, Ask):
        agrees = used is not None and complete(asked, used) == used
    else:
        agrees = True
    return not (agrees and event.source == fate.source and event.node == fate.node)


def _refusal(event: Event, outcome: Expected | str) -> str | None:
    if isinstance(outcome, str):
        return outcome
    return "conflict" if contradicts(event, outcome) else None


def _rule(event: Event) -> str:
    assert event.source is not None
    if event.item.kind == "volume":
        return "clone"
    if event.item.kind == "replica" and event.source.kind != "partition":
        return "create" if event.transport == "reencrypt" else "reuse"
    return "reuse"


def _none(event: Event, guard: str | None) -> Expected:
    return Expected(
        item=event.item,
        source=event.source,
        disposition="none",
        encryption=None,
        data_action="none",
        causes=frozenset({event.cause}),
        key_owner=None,
        scope_owner=None,
        guard=guard,
        node=event.node,
    )


def _create(event: Event, encryption: Encryption, data_action: str = "none") -> Expected:
    return Expected(
        item=event.item,
        source=event.source,
        disposition="create",
        encryption=encryption,
        data_action=data_action,
        causes=frozenset({event.cause}),
        key_owner=event.item,
        scope_owner=event.item,
        node=event.node,
    )


def _derive(
    event: Event, source: Expected, disposition: str, own: Encryption | None = None
) -> Expected:
    """Join the source at the depth the disposition names."""
    assert source.encryption is not None
    if disposition == "create":
        made = _create(event, own or source.encryption, "reencrypt")
        return replace(made, reencrypt_from=source.item)
    joined = replace(
        _create(event, source.encryption, "none"),
        disposition=disposition,
        scope_owner=source.scope_owner,
    )
    if disposition == "clone":
        return replace(joined, cloned_from=source.item)
    return replace(joined, key_owner=source.key_owner)


class _Model:
    def __init__(self, phases: Phases) -> None:
        self.births = _births(phases)
        self._known: dict[Item, Expected | str] = {}

    def outcome(self, item: Item) -> Expected | str:
        if item not in self._known:
            self._known[item] = self._find(item)
        return self._known[item]

    def _find(self, item: Item) -> Expected | str:
        events = self.births.get(item)
        if events is None:
            return "source-missing"
        if item.kind == "partition":
            return _partition(item, events)
        found = self._decide(events[0])
        if isinstance(found, str):
            return found
        return replace(found, causes=frozenset(event.cause for event in events))

    def _decide(self, event: Event) -> Expected | str:
        if event.source is None or event.source.kind == "image":
            return judge(event, None)
        source = self.outcome(event.source)
        if isinstance(source, Expected):
            return judge(event, source)
        # A partition comes with its replica, so what refuses the one refuses the other.
        return source if event.source.kind == "partition" else "source-missing"


def _partition(item: Item, events: Sequence[Event]) -> Expected | str:
    """The partition that the first of these replicas, whichever it is, brings with it."""
    bare = [replace(event, source=None, node=None) for event in events]
    outcome = judge(bare[0], None)
    if isinstance(outcome, str):
        return outcome
    owned = outcome.has_key
    return replace(
        outcome,
        item=item,
        key_owner=item if owned else None,
        scope_owner=item if owned else None,
        causes=frozenset(event.cause for event in events),
    )


def _births(phases: Phases) -> dict[Item, list[Event]]:
    """The events that may bring each item about: those of the first phase that names it."""
    born: dict[Item, list[Event]] = {}
    for phase in phases:
        for item, events in _by_item(phase, set(born)).items():
            _must_agree(item, events)
            born[item] = events
    return born


def _by_item(phase: Iterable[Event], settled: set[Item]) -> dict[Item, list[Event]]:
    named: dict[Item, list[Event]] = {}
    for event in phase:
        # A replica that is settled already is a repeat or a conflict: it brings no partition.
        if event.item in settled:
            continue
        named.setdefault(event.item, []).append(event)
        source = event.source
        if source is not None and source.kind == "partition" and source not in settled:
            named.setdefault(source, []).append(event)
    return named


def _must_agree(item: Item, events: Sequence[Event]) -> None:
    """Refuse a history whose outcome depends on the order of arrival."""
    if item.kind == "partition":
        agreed = len({event.encryption for event in events}) == 1
    else:
        agreed = len({replace(event, event_id="", producer="") for event in events}) == 1
    if not agreed:
        raise ValueError(f"the fate of {item.subject} depends on the order of its events")
