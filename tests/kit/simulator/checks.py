"""What must be true of an installation when all is done."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from kmworker.domain.model import Disposition, Encryption, Item, Kind, ScopeRecord
from kmworker.errors import PermanentError
from tests.kit.simulator.contents import Contents, read_contents
from tests.kit.simulator.events import Sent
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.ledger import entry_of

DISPOSITIONS: Final = [disposition.value for disposition in Disposition]

# Of a bound, from which on a crowd is listed.
NEAR: Final = 0.8

Finding = tuple[Invariant, str]
Record = dict[str, Any]


def check_at_rest(site: Installation) -> None:
    """Check every promise of an installation that has come to rest.

    Raises:
        Violation: the first that is broken.
    """
    found = {contents.project: contents for contents in read_contents(site.redis, "km")}
    for invariant, detail in _findings(site, found):
        site.ledger.violated(invariant, detail)
    site.ledger.raise_violation()


def assert_safe(site: Installation) -> None:
    """Check what no failure at any moment may break."""
    site.ledger.raise_violation()
    for contents in read_contents(site.redis, "km"):
        for invariant, detail in _counted(contents):
            raise AssertionError(f"{invariant.value}: {detail}")


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
        if not site.altered:
            yield from _counted(contents)
        yield from _kept(site, contents)
        yield from _scopes(contents, found)


def _event(
    site: Installation, found: dict[str, Contents], sent: Sent, accepted_at: float
) -> Iterator[Finding]:
    name = sent.event_id if sent.is_event else repr(sent.body)
    reasons = {
        letter.properties["application_headers"]["x-kmworker-reason"]
        for letter in site.letters
        if letter.body == sent.body
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
    if "source-missing" in reasons and is_over and record is not None and _caused(record, sent):
        yield Invariant.JUSTIFIED, f"{name} is refused and assigned"


def _caused(record: Record, sent: Sent) -> bool:
    return bool(record["data"]["cause"]["id"] == sent.event_id)


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


def _counted(contents: Contents) -> Iterator[Finding]:
    """Compare counters and indexes with the records they count."""
    data = [record["data"] for record in contents.items.values()]
    made = Counter(it["disposition"] for it in data)
    counted = {name: contents.stats.get(name, 0) for name in DISPOSITIONS}
    if counted != {name: made[name] for name in DISPOSITIONS}:
        yield Invariant.COUNTED, f"stats {counted}, items {dict(made)}"
    holders = Counter(it["key_id"] for it in data if it["key_id"])
    if contents.holders != holders:
        yield Invariant.COUNTED, f"holders {contents.holders}, items {dict(holders)}"
    lineage = {
        f"{record['data']['scope_id']} {ref}"
        for ref, record in contents.items.items()
        if record["data"]["scope_id"]
    }
    if contents.lineage != lineage:
        yield Invariant.COUNTED, f"lineage {set(contents.lineage) ^ lineage}"
    sources = {f"{record['source']} {entry}" for entry, record in contents.parked.items()}
    parked = contents.parked.keys()
    if not (parked == contents.waiting == contents.deadlines and sources == contents.sources):
        yield Invariant.COUNTED, "the waiting room's indexes"
    shares: dict[str, dict[str, int]] = {}
    for entry, record in contents.parked.items():
        share = shares.setdefault(record["project"], {"events": 0, "bytes": 0})
        share["events"] += 1
        share["bytes"] += contents.sizes[entry]
    if contents.shares != shares:
        yield Invariant.COUNTED, f"shares {contents.shares}, parked {shares}"
    if contents.stats.get("waiting", 0) != len(parked):
        yield Invariant.COUNTED, f"waiting {contents.stats.get('waiting')}, not {len(parked)}"


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


def _scopes(contents: Contents, found: dict[str, Contents]) -> Iterator[Finding]:
    """Look where each item's key-id and scope come from."""
    for ref, record in contents.items.items():
        data = record["data"]
        if data["disposition"] == "create":
            is_right = contents.scopes.get(data["scope_id"], {}).get("root") == ref
        elif data["disposition"] == "none":
            is_right = data["key_id"] is data["scope_id"] is data["encryption"] is None
        else:
            project = found.get(data["source"]["project_id"], contents)
            source = project.items[f"{data['source']['kind']}:{data['source']['id']}"]["data"]
            same_key = source["key_id"] == data["key_id"]
            is_right = project is contents and source["scope_id"] == data["scope_id"]
            is_right &= same_key is (data["disposition"] == "reuse")
        key_scope = contents.keys.get(data["key_id"], {}).get("scope_id")
        if not is_right or key_scope != data["scope_id"]:
            yield Invariant.SCOPES, f"{ref} is {data['disposition']}"
