"""What must be true of an installation when all is done."""

from collections.abc import Iterator
from typing import Any, Final

from kmworker.domain.model import Encryption, Item, Kind, ScopeRecord
from kmworker.errors import PermanentError
from tests.kit.checker.contents import Contents, read_contents
from tests.kit.checker.rules import descent_problems, index_problems, key_problems
from tests.kit.simulator.events import Sent
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.ledger import entry_of

# Of a bound, from which on a crowd is listed.
NEAR: Final = 0.8

Finding = tuple[Invariant, str]
Record = dict[str, Any]


def check_at_rest(site: Installation) -> None:
    """Check every promise of an installation that has come to rest.

    Raises:
        Violation: the first that is broken.
    """
    for invariant, detail in _findings(site, read_contents(site.redis, "km")):
        site.ledger.violated(invariant, detail)
    site.ledger.raise_violation()


def assert_settled(site: Installation) -> None:
    """Check that nothing is left to do."""
    assert site.broker.is_settled, "some events are unacknowledged"
    site.ledger.raise_violation()
    assert not site.waiting(), "some events still wait"
    assert int(site.redis.hget(site.names.of("p1", "stats"), "waiting") or 0) == 0
    for short in ("waiting:deadlines", "waiting:sources", "parked", "expired"):
        assert not site.redis.exists(site.names.of("p1", short)), f"{short} is not empty"


def assert_all_assigned(site: Installation, *events: Sent) -> None:
    """Check that all of these are assigned and announced, and that nothing is left to do."""
    assert_settled(site)
    check_at_rest(site)
    announced = site.announced()
    for event in events:
        assert event.item.ref in announced, f"{event.item.ref} was not announced"
    assert not site.letters


def _findings(site: Installation, found: dict[str, Contents]) -> Iterator[Finding]:
    if not site.broker.is_settled:
        yield Invariant.AT_REST, "some events are unacknowledged"
    for wrong in site.broker.protocol_errors:
        yield Invariant.PROTOCOL, wrong
    for item in set(site.ledger.changed()) - site.altered:
        yield Invariant.IMMUTABLE, item.ref
    for sent, accepted_at in site.ledger.accepted.values():
        yield from _event(site, found, sent, accepted_at)
    yield from _listed_crowds(site, found)
    for contents in found.values():
        yield from _kept(site, contents)
        yield from ((Invariant.SCOPES, it) for it in descent_problems(contents, found))
        if not site.altered:
            yield from ((Invariant.SCOPES, it) for it in key_problems(contents, found))
            yield from ((Invariant.COUNTED, it) for it in index_problems(contents))


def _event(
    site: Installation, found: dict[str, Contents], sent: Sent, accepted_at: float
) -> Iterator[Finding]:
    name = sent.name
    reasons = {
        letter.headers["x-kmworker-reason"] for letter in site.letters if letter.body == sent.body
    }
    source, item = sent.derived_from, sent.item
    room = None if source is None else found.get(source.project)
    entry = entry_of(sent).decode()
    waits = room is not None and entry in room.parked
    if waits and source is not None and room is not None and source.ref in room.items:
        yield Invariant.AT_REST, f"{name} waits, and {source.ref} is there"
    mine = found.get(item.project)
    record = None if mine is None or not sent.is_event else mine.items.get(item.ref)
    if not (reasons or waits or _is_mine(site, sent, record) or item in site.altered):
        yield Invariant.ACCOUNTED, name
    for reason in reasons:
        if not _is_justified(site, sent, reason, record, accepted_at):
            yield Invariant.JUSTIFIED, f"{name} is refused as {reason}"
    # Another copy is another event, as a replayed dead letter is.
    is_over = sent.body not in site.ledger.comes_again
    is_cause = record is not None and record["data"]["cause"]["id"] == sent.event_id
    if "source-missing" in reasons and is_over and is_cause:
        yield Invariant.JUSTIFIED, f"{name} is refused and assigned"


def _is_mine(site: Installation, sent: Sent, record: Record | None) -> bool:
    return record is not None and site.ledger.agrees(sent, record)


def _is_justified(
    site: Installation, sent: Sent, reason: str, record: Record | None, at: float
) -> bool:
    match reason:
        case "malformed":
            return not sent.is_event
        case "conflict":
            return record is not None and not _is_mine(site, sent, record)
        case "source-missing":
            waited = site.ledger.refused_at[sent.body] - at
            return sent.derived_from is not None and waited >= site.limits.waiting_deadline_s
        case "no-room":
            return _had_no_room(site, sent)
        case "integrity" | "internal":
            altered = {sent.item, sent.derived_from} & site.altered
            return bool(altered) if reason == "integrity" else sent.item.ref in site.poison
        case _:
            return reason == "not-allowed" and sent.is_beyond_user


def _had_no_room(site: Installation, sent: Sent) -> bool:
    """Return whether so many others of its project could wait where it would have had to."""
    source = sent.derived_from
    if source is None:
        return False
    is_foreign = source.project != sent.item.project
    others = {
        other.body
        for other, _at in site.ledger.accepted.values()
        if other.derived_from is not None
        and (other.item.project, other.derived_from.project) == (sent.item.project, source.project)
    }
    return len(others) > (site.limits.foreign_max if is_foreign else site.limits.waiting_max)


def _listed_crowds(site: Installation, found: dict[str, Contents]) -> Iterator[Finding]:
    """Look whether each project that is listed is near the bound of a waiting room."""
    for name in site.redis.hkeys(site.names.top("crowded")):
        project, source_project = name.decode().split(" ")
        share = found[source_project].shares.get(project, {"events": 0})
        is_foreign = project != source_project
        most = site.limits.foreign_max if is_foreign else site.limits.waiting_max
        if share["events"] < NEAR * most:
            yield Invariant.COUNTED, f"{project} is listed as a crowd in {source_project}"


def _kept(site: Installation, contents: Contents) -> Iterator[Finding]:
    """Look whether every assignment was announced, and every DEK is there and unwraps."""
    for ref in contents.items:
        item = _item(contents, ref)
        told = site.ledger.announced.get(item)
        if told not in site.ledger.confirmed and not (told is None and item in site.altered):
            yield Invariant.ANNOUNCED, ref
    for scope_id, scope in contents.scopes.items():
        is_altered = scope["root"] in {item.ref for item in site.altered}
        if scope["root"] not in contents.items and not is_altered:
            yield Invariant.IMMUTABLE, f"the root of scope {scope_id} is gone"
        if is_altered and not _is_told(site, contents, scope_id):
            # What someone wrote there is none of ours, as long as nobody is told to use it.
            continue
        if not _unwraps(site, contents, scope_id):
            yield Invariant.STORED_FIRST, f"the DEK of scope {scope_id} does not unwrap"


def _item(contents: Contents, ref: str) -> Item:
    kind, _colon, name = ref.partition(":")
    return Item(contents.project, Kind(kind), name)


def _is_told(site: Installation, contents: Contents, scope_id: str) -> bool:
    """Return whether anyone was told to use this scope's DEK."""
    return any(
        record["data"]["scope_id"] == scope_id and _item(contents, ref) in site.ledger.announced
        for ref, record in contents.items.items()
    )


def _unwraps(site: Installation, contents: Contents, scope_id: str) -> bool:
    scope = contents.scopes[scope_id]
    blob = contents.deks.get(scope_id)
    record = ScopeRecord(
        scope_id=scope_id,
        root=scope["root"],
        dek_id=scope["dek_id"],
        encryption=Encryption(scope["cipher"], scope["key_bits"]),
        kek_id=scope["kek_id"],
        derived_from=scope["derived_from"],
        created_at=scope["created_at"],
    )
    try:
        return blob is not None and bool(site.custody.unwrap(contents.project, record, blob))
    except PermanentError:
        return False
