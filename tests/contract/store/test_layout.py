"""What dashboards and auditors find, to the letter of docs/contract.md."""

import re
from collections.abc import Callable

import pytest

from kmworker.domain.model import Place
from kmworker.domain.plan import AssignWrite
from kmworker.wire.assignments import encode_data
from tests.kit.store.builders import AT, draft, held, replica, snapshot, volume
from tests.kit.store.stand import Stand

SEAL = re.compile(rb',"seal":"v2\.([0-9a-f]{16})\.[0-9a-f]{32}"}\Z')


def unsealed(stand: Stand, project: str, key: str, field: str) -> str:
    """Return a record's text before its seal, once the seal has been checked."""
    record = stand.value(stand.key(project, key))[field.encode()]
    seal = SEAL.search(record)
    assert seal is not None, record
    assert seal[1].decode() == stand.custody.kek_id
    body = record[: seal.start()]
    assert stand.custody.check_seal(Place(project, key, field), record) == body
    return str(body.decode())


@pytest.mark.parametrize("make", [draft.create, draft.none], ids=["keyed", "unencrypted"])
def test_an_items_record_holds_the_announcements_data_and_its_state(
    stand: Stand, make: Callable[..., AssignWrite]
) -> None:
    source = stand.put(draft.create(volume("v1")))
    assignment = stand.put(make(replica("r1"), source, node="obj-07")).assignment
    # To the letter, tests/unit/wire/test_assignments.py has these data.
    record = '{"data":' + encode_data(assignment).decode() + ',"state":"active"'
    assert unsealed(stand, "p1", "items", "replica:r1") == record


def test_a_keys_record_names_its_scope_and_the_key_it_was_cloned_from(stand: Stand) -> None:
    held = stand.put(draft.create(volume("v1")))
    source = held.assignment
    clone = stand.put(draft.clone(volume("v2"), held)).assignment
    dek_id = stand.record("p1", "scopes", str(source.scope_id))["dek_id"]
    head = f'{{"scope_id":"{source.scope_id}","dek_id":"{dek_id}","state":"active"'
    tail = f'"created_at":"{AT}","version":1'
    assert unsealed(stand, "p1", "keys", str(source.key_id)) == (
        f'{head},"cloned_from":null,{tail}'
    )
    assert unsealed(stand, "p1", "keys", str(clone.key_id)) == (
        f'{head},"cloned_from":"{source.key_id}",{tail}'
    )


def test_a_scopes_record_names_its_root_its_dek_and_the_scope_it_was_derived_from(
    stand: Stand,
) -> None:
    first = stand.put(draft.create(volume("v1")))
    second = stand.put(draft.create(replica("r1"), first))
    for found, root, derived in (
        (first, "volume:v1", "null"),
        (second, "replica:r1", f'"{first.assignment.scope_id}"'),
    ):
        assert found.scope is not None
        assert unsealed(stand, "p1", "scopes", found.scope.scope_id) == (
            f'{{"root":"{root}","dek_id":"{found.scope.dek_id}",'
            f'"cipher":"aes-xts-plain64","key_bits":512,"kek_id":"{stand.custody.kek_id}",'
            f'"derived_from":{derived},"created_at":"{AT}"'
        )


def test_after_one_of_each_the_store_holds_exactly_the_contracts_keys(stand: Stand) -> None:
    one = draft.create(volume("v1"))
    source = held(one)
    two, three = draft.clone(volume("v2"), source), draft.reuse(snapshot("s1"), source)
    stand.commit(one, two, three, draft.none(volume("v3")))
    k1, k2 = (str(write.assignment.key_id).encode() for write in (one, two))
    scope = str(one.assignment.scope_id).encode()
    wraps = f"wraps:{stand.custody.kek_id}".encode()
    contents = stand.contents()
    fields = {name: set(value) for name, value in contents.items()}
    assert fields == {
        stand.key("p1", "items"): {b"volume:v1", b"volume:v2", b"snapshot:s1", b"volume:v3"},
        stand.key("p1", "keys"): {k1, k2},
        stand.key("p1", "scopes"): {scope},
        stand.key("p1", "lineage"): {
            scope + b" " + ref for ref in (b"volume:v1", b"volume:v2", b"snapshot:s1")
        },
        stand.key("p1", "holders"): {k1, k2},
        stand.key("p1", "clones"): {scope},
        stand.key("p1", "stats"): {b"create", b"clone", b"reuse", b"none", wraps},
        stand.secret("p1", "deks"): {scope},
        stand.top("projects"): {b"p1"},
    }
    assert contents[stand.key("p1", "holders")] == {k1: b"2", k2: b"1"}
    assert set(contents[stand.key("p1", "stats")].values()) == {b"1"}
    assert set(contents[stand.key("p1", "lineage")].values()) == {0.0}


def test_a_scope_is_listed_by_a_range_over_the_lineage(stand: Stand) -> None:
    source = stand.put(draft.create(volume("v1")))
    stand.put(draft.create(volume("v9")))
    stand.put(draft.reuse(snapshot("s1"), source))
    scope = source.assignment.scope_id
    members = stand.raw.zrangebylex(stand.key("p1", "lineage"), f"[{scope} ", f"({scope}!")
    assert members == [f"{scope} snapshot:s1".encode(), f"{scope} volume:v1".encode()]


def test_repeats_and_losers_are_not_counted(stand: Stand) -> None:
    write = draft.create(volume("v1"))
    source = held(write)
    reuse = draft.reuse(snapshot("s1"), source)
    stand.commit(write, write, reuse)
    stand.store().commit([write, draft.create(volume("v1")), reuse]).result()
    assert stand.stats("p1") == {b"create": b"1", b"reuse": b"1"}
    assert stand.wraps("p1") == 1
    assert stand.value(stand.key("p1", "holders")) == {str(write.assignment.key_id).encode(): b"2"}


def test_records_and_deks_never_expire(stand: Stand) -> None:
    stand.commit(draft.create(volume("v1")), draft.park(volume("v2"), snapshot("s1")))
    assert {name: stand.raw.ttl(name) for name in stand.contents()} == dict.fromkeys(
        stand.contents(), -1
    )


def test_projects_share_no_key_but_their_list(stand: Stand) -> None:
    stand.commit(*(draft.create(volume("v1", project)) for project in ("a", "ab", "a.b")))
    assert stand.value(stand.top("projects")) == {b"a", b"ab", b"a.b"}
    tags = [re.findall(r"\{(.*?)\}", name) for name in stand.contents()]
    assert sorted(tags) == sorted([[], *([[p] for p in ("a", "ab", "a.b") for _ in range(7)])])


def test_no_key_material_and_no_event_body_is_open_to_dashboards(stand: Stand) -> None:
    stand.commit(
        draft.create(volume("v1")),
        draft.park(volume("v2"), snapshot("s1"), body=b'{"note":"private"}'),
    )
    secret = {
        value
        for name, hash_ in stand.contents().items()
        if name.startswith(f"{stand.prefix}secret:")
        for value in hash_.values()
    }
    opened = repr({n: v for n, v in stand.contents().items() if n.startswith(f"{stand.prefix}:")})
    assert len(secret) == 2
    assert "private" not in opened
    assert not [value for value in secret if repr(value)[2:-1] in opened]
