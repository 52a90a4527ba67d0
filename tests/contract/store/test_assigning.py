"""An item gets a record if and only if it has none, and everyone reads the same one."""

from collections.abc import Callable
from typing import Any

import pytest

from kmworker.domain.model import Cause, DataAction, Encryption, Held, Item, Kind
from kmworker.domain.plan import AssignWrite, Committed, WriteStatus
from kmworker.errors import PermanentError
from kmworker.wire.assignments import encode_data
from tests.kit.store.builders import draft, held, replica, snapshot, volume
from tests.kit.store.stand import Stand, only

# Text that would mislead whoever looks for fields by pattern without minding escapes.
MISLEADING = '"key_id":"x","scope_id":"y","state":"z" \\" \\ \u2028 \U0001f511 é'


def test_an_item_that_was_never_assigned_is_unknown(stand: Stand) -> None:
    stand.commit(draft.create(volume("v1")))
    absent = [volume("v2"), snapshot("v1"), volume("v1", "p2"), volume("v")]
    assert stand.look_up(*absent) == dict.fromkeys(absent)


def test_looking_up_nothing_finds_nothing(stand: Stand) -> None:
    assert stand.look_up() == {}


def test_writing_nothing_writes_nothing(stand: Stand) -> None:
    assert stand.commit() == []
    stand.first.remove([])
    stand.first.release([])
    stand.first.count_dead([])
    assert stand.contents() == {}


@pytest.mark.parametrize("encryption", [("aes-xts-plain64", 256), ('c"i\\pher é \u2028', 8)])
def test_a_created_item_is_held_with_its_new_key_and_scope(
    stand: Stand, encryption: tuple[str, int]
) -> None:
    write = draft.create(volume("v1"), encryption=Encryption(*encryption))
    committed = only(stand.commit(write))
    assert committed == Committed(
        WriteStatus.WRITTEN, write.assignment, encode_data(write.assignment), has_waiting=False
    )
    assert stand.look_up(volume("v1")) == {volume("v1"): held(write)}


DERIVED = {
    "a clone has a key of its own and the source's scope": (draft.create, draft.clone),
    "a reusing item has the source's key and scope": (draft.create, draft.reuse),
    "an unencrypted item has neither": (draft.none, draft.none),
    "an item whose data is re-encrypted has its own": (draft.create, draft.create),
}


@pytest.mark.parametrize(("make", "derive"), DERIVED.values(), ids=DERIVED)
def test_what_is_derived_from_an_item_is_held_beside_it(
    stand: Stand, make: Callable[..., AssignWrite], derive: Callable[..., AssignWrite]
) -> None:
    source = stand.put(make(volume("v1")))
    write = derive(replica("r1"), source)
    assert only(stand.commit(write)).status is WriteStatus.WRITTEN
    assert stand.look_up(volume("v1"), replica("r1")) == {
        volume("v1"): source,
        replica("r1"): held(write, source),
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"rule": MISLEADING},
        {"cause": Cause(MISLEADING, MISLEADING, "volume-created")},
        {"node": MISLEADING},
        {"node": "obj-07"},
        {"data_action": DataAction.ENCRYPT, "source": Item("p1", Kind.IMAGE, "i1")},
        {"source": volume("v0", "p2"), "reencrypt_from": "7a1e"},
    ],
    ids=["rule", "cause", "odd-node", "node", "image", "other-project"],
)
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unencrypted"])
def test_an_assignment_is_read_back_as_it_was_written_whatever_its_words(
    stand: Stand, fields: dict[str, Any], keyed: bool
) -> None:
    draw = draft.create if keyed else draft.none
    write = draw(volume("v1"), **fields)
    stand.commit(write)
    found = stand.known(volume("v1"))
    assert found == held(write)
    record = stand.value(stand.key("p1", "items"))[b"volume:v1"]
    assert record.startswith(b'{"data":' + found.data + b',"state":')


def test_whoever_comes_second_gets_the_first_ones_record(stand: Stand) -> None:
    first, second = draft.create(volume("v1")), draft.create(volume("v1"), rule="another")
    winner = only(stand.commit(first))
    loser = only(stand.store().commit([second]).result())
    assert loser == Committed(WriteStatus.EXISTS, winner.assignment, winner.data, has_waiting=False)


@pytest.mark.parametrize(
    "derive", [draft.create, draft.clone, draft.reuse, draft.none], ids=lambda it: it.__name__
)
def test_a_losers_candidates_leave_nothing_behind(
    stand: Stand, derive: Callable[..., AssignWrite]
) -> None:
    source = stand.put(draft.create(volume("v1")))
    stand.put(draft.create(volume("v2")))
    with stand.untouched():
        assert only(stand.commit(derive(volume("v2"), source))).status is WriteStatus.EXISTS


def test_of_two_writes_for_one_item_in_a_batch_the_first_wins(stand: Stand) -> None:
    first, second = draft.create(volume("v1")), draft.create(volume("v1"))
    one, two = stand.commit(first, second)
    assert (one.status, two.status) == (WriteStatus.WRITTEN, WriteStatus.EXISTS)
    assert (two.assignment, two.data) == (one.assignment, one.data)


def test_the_answers_come_in_the_order_of_the_writes_whatever_their_projects(stand: Stand) -> None:
    items = [volume(f"v{n}", f"p{n % 3}") for n in range(12)]
    stand.commit(*(draft.create(item) for item in items[::2]))
    answers = stand.commit(*(draft.create(item) for item in items))
    assert [a.assignment and a.assignment.item for a in answers] == items
    assert [a.status for a in answers] == [WriteStatus.EXISTS, WriteStatus.WRITTEN] * 6
    assert all(isinstance(state, Held) for state in stand.look_up(*items).values())


@pytest.mark.parametrize("key_bits", [128, 512])
def test_each_scope_has_a_dek_that_unwraps_for_it_alone(stand: Stand, key_bits: int) -> None:
    encryption = Encryption("aes-xts-plain64", key_bits)
    one = stand.put(draft.create(volume("v1"), encryption=encryption))
    two = stand.put(draft.create(volume("v2"), encryption=encryption))
    assert one.scope is not None
    assert two.scope is not None
    wrapped = stand.value(stand.secret("p1", "deks"))
    blob = wrapped[one.scope.scope_id.encode()]
    assert len(stand.custody.unwrap("p1", one.scope, blob)) == key_bits // 8
    with pytest.raises(PermanentError):
        stand.custody.unwrap("p1", two.scope, blob)
    with pytest.raises(PermanentError):
        stand.custody.unwrap("p2", one.scope, blob)
