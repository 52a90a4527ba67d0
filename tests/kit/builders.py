"""Items, events, records and policies to test with: sound as they come, changed by keyword."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

from kmworker.domain.event import (
    Attach,
    Detach,
    Event,
    Happening,
    Release,
    RequestedEncryption,
    Unencrypted,
)
from kmworker.domain.message import Delivery, Original
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyRecord,
    KeyState,
    Kind,
    Released,
    ScopeRecord,
    Tombstone,
    Transport,
    scope_id_for,
)
from kmworker.domain.plan import Arrival, Entry, Fresh
from kmworker.domain.policy import Policy
from kmworker.domain.policy_file import load_policy
from kmworker.wire.events.definition import CREATING_TYPES, EVENT_TYPES

NOW = "2026-11-23T16:00:00.000Z"
EARLIER = "2026-11-23T15:00:00.000Z"

XTS = Encryption("aes-xts-plain64", 512)
XTS_256 = Encryption("aes-xts-plain64", 256)
XTS_128 = Encryption("aes-xts-plain64", 128)
CBC = Encryption("aes-cbc-essiv:sha256", 256)
CTR = Encryption("aes-ctr-plain64", 256)
UNLISTED = Encryption("serpent-xts-plain64", 512)

SHIPPED_POLICY = Path(__file__).parents[2] / "config" / "policy.toml"
SHIPPED = load_policy(SHIPPED_POLICY.read_text("utf-8"), "policy.toml", EVENT_TYPES, CREATING_TYPES)

CIPHERS = """
[[cipher]]
name = "aes-xts-plain64"
key_bits = [512, 256]
iv = "tweak"

[[cipher]]
name = "aes-ctr-plain64"
key_bits = [256]
iv = "positional-stream"
"""
DEFAULTS = """
[[default_encryption]]
cipher = "aes-xts-plain64"
"""


def policy_of(rules: str, *, ciphers: str = CIPHERS, defaults: str = DEFAULTS) -> Policy:
    """A policy of these rules, in TOML."""
    return load_policy(rules + ciphers + defaults, "test.toml", EVENT_TYPES, CREATING_TYPES)


def rule_of(name: str = "r", **columns: object) -> str:
    """A rule in TOML; `create` unless told otherwise."""
    said = {"name": f"'{name}'", "then": "'create'"} | columns
    return "\n".join(["[[rule]]", *(f"{column} = {toml(it)}" for column, it in said.items()), ""])


def toml(value: object) -> str:
    """What a test wrote in Python, as TOML."""
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')


def asks(encryption: Encryption) -> RequestedEncryption:
    """What an event says that wants this."""
    return RequestedEncryption(*encryption)


# --- items ------------------------------------------------------------------------


def volume(name: str = "v1", project: str = "p1") -> Item:
    """A volume."""
    return Item(project, Kind.VOLUME, name)


def snapshot(name: str = "s1", project: str = "p1") -> Item:
    """A snapshot."""
    return Item(project, Kind.SNAPSHOT, name)


def replica(name: str = "r1", project: str = "p1") -> Item:
    """A replica."""
    return Item(project, Kind.REPLICA, name)


def partition(name: str = "4711", project: str = "p1") -> Item:
    """A Swift partition."""
    return Item(project, Kind.PARTITION, name)


def image(name: str = "i1", project: str = "p1") -> Item:
    """An image: data from outside."""
    return Item(project, Kind.IMAGE, name)


# --- events -----------------------------------------------------------------------

EVENT_TYPE = {
    Kind.VOLUME: "volume-created",
    Kind.SNAPSHOT: "snapshot-taken",
    Kind.REPLICA: "replica-added",
}
RELEASE_TYPE = {
    Kind.VOLUME: "volume-deleted",
    Kind.SNAPSHOT: "snapshot-deleted",
    Kind.REPLICA: "replica-removed",
}


def event_of(
    item: Item,
    source: Item | None = None,
    *,
    event_id: str | None = None,
    encryption: RequestedEncryption | Unencrypted | None = None,
    requested: Disposition | None = None,
    volume_type: str | None = None,
    transport: Transport | None = None,
    generation: int = 0,
    source_generation: int = 0,
) -> Event:
    """The event that announces an item, named after the item unless told otherwise."""
    return Event(
        cause=Cause(event_id or f"event-{item.id}", "/test", EVENT_TYPE[item.kind]),
        item=item,
        derived_from=source,
        encryption=encryption,
        requested=requested,
        node="node-1" if item.kind is Kind.REPLICA else None,
        volume_type=volume_type,
        transport=transport,
        generation=generation,
        source_generation=source_generation,
    )


def release_of(item: Item, generation: int = 0, *, event_id: str | None = None) -> Release:
    """The event that says that an item is gone, named after it unless told otherwise."""
    cause = Cause(event_id or f"end-of-{item.id}", "/test", RELEASE_TYPE[item.kind])
    return Release(cause, item, generation)


def attach(
    name: str = "a1", node: str = "n1", event_id: str | None = None, **more: object
) -> Attach:
    """The event that attaches the volume v1, named after the attachment unless told otherwise."""
    cause = Cause(event_id or f"on-{name}", "/nova", "volume-attached")
    return replace(Attach(cause, volume(), name, node), **more)  # type: ignore[arg-type]


def detach(name: str = "a1", event_id: str | None = None) -> Detach:
    """The event that detaches it."""
    cause = Cause(event_id or f"off-{name}", "/nova", "volume-detached")
    return Detach(cause, volume(), name)


def original_of(event: Happening) -> Original:
    """A message that could have carried the event; equal for equal events."""
    body = f"{event.cause} {event.item} {event.derived_from} {event.generation}".encode()
    return Original(body, event.cause.type, {"content_type": "application/json"})


def delivery_of(event: Happening, tag: int = 1) -> Delivery:
    """The broker's delivery of an event."""
    return Delivery(original_of(event), tag=tag, generation=1, received_at=0.0)


def arrived(event: Happening, tag: int = 1) -> Arrival:
    """An event that came from the broker."""
    delivery = delivery_of(event, tag)
    return Arrival(event, delivery.original, delivery)


def waited(event: Event, *, attempts: int = 1, expired: bool = False) -> Arrival:
    """An event that comes out of the waiting room."""
    assert event.derived_from is not None
    entry = Entry(event.derived_from, f"entry-{event.item.id}", attempts, expired)
    return Arrival(event, original_of(event), entry=entry)


def numbered_ids() -> Callable[[], str]:
    """Ids that are drawn in order, in place of random ones."""
    numbers = count(1)
    return lambda: f"id-{next(numbers)}"


def fresh() -> Fresh:
    """Time, ids and a KEK's name, the same for every plan."""
    return Fresh(now=NOW, new_id=numbered_ids(), kek_id="kek-1")


# --- what is known ----------------------------------------------------------------


def assignment_of(
    item: Item,
    source: Item | None = None,
    *,
    encryption: Encryption | None = XTS,
    key_id: str | None = None,
    event_id: str | None = None,
    generation: int = 0,
) -> Assignment:
    """An assignment: `create` with a key-id named after the item, or `none`."""
    keyed = encryption is not None
    return Assignment(
        item=item,
        disposition=Disposition.CREATE if keyed else Disposition.NONE,
        key_id=key_id or f"key-{item.id}" if keyed else None,
        scope_id=scope_id_for(item, generation) if keyed else None,
        source=source,
        node=None,
        encryption=encryption,
        data_action=DataAction.NONE,
        reencrypt_from=None,
        rule="a-rule",
        # A partition has no event of its own: its first replica founds it.
        cause=Cause(
            event_id or f"event-{item.id}", "/test", EVENT_TYPE.get(item.kind, "replica-added")
        ),
        assigned_at=EARLIER,
        generation=generation,
    )


def held(
    item: Item,
    source: Item | None = None,
    *,
    encryption: Encryption | None = XTS,
    state: KeyState = KeyState.ACTIVE,
    event_id: str | None = None,
    has_waiting: bool = False,
    generation: int = 0,
) -> Held:
    """An assigned item with a key and a scope of its own; without encryption, with neither."""
    assignment = assignment_of(
        item, source, encryption=encryption, event_id=event_id, generation=generation
    )
    data = f"data of {item.ref}".encode()
    if encryption is None or assignment.key_id is None:
        return Held(assignment, None, None, data, has_waiting)
    scope_id = scope_id_for(item, generation)
    is_compromised = state is KeyState.COMPROMISED
    own = KeyState.ACTIVE if is_compromised else state
    key = KeyRecord(
        assignment.key_id, scope_id, f"dek-{item.id}", own, None, EARLIER,
        is_compromised=is_compromised,
    )  # fmt: skip
    scope = ScopeRecord(
        scope_id, item.ref, f"dek-{item.id}", encryption, "kek-0", None, EARLIER, generation
    )
    return Held(assignment, key, scope, data, has_waiting)


def released(
    of: Held | Item, generation: int | None = None, *, event_id: str | None = None
) -> Released:
    """An item that is gone: what it held, or one that was never heard of."""
    known = of if isinstance(of, Held) else None
    item = of.item if isinstance(of, Held) else of
    newest = generation if generation is not None else known.assignment.generation if known else 0
    cause = release_of(item, newest, event_id=event_id).cause
    return Released(item, Tombstone(newest, cause, NOW), known)
