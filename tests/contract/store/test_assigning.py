"""An item gets a record if and only if it has none, and everyone reads the same one."""

from typing import Any

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.domain.model import Cause, DataAction, Encryption, Held, Item, Kind
from kmworker.domain.plan import AssignWrite, Committed, WriteStatus
from kmworker.errors import PermanentError
from kmworker.store.redis_store import RedisStore
from kmworker.wire.assignments import encode_data
from tests.kit.store.builders import Drafts, held, partition, replica, snapshot, volume
from tests.kit.store.stand import Stand, known, only, put

LONGEST = "0" + "Az9._:/@+-" * 25 + "last"

# Text that would mislead whoever looks for fields by pattern without minding escapes.
MISLEADING = '"key_id":"x","scope_id":"y","state":"z" \\" \\ \u2028 \U0001f511 é'


def test_an_item_that_was_never_assigned_is_unknown(store: RedisStore, draft: Drafts) -> None:
    store.commit([draft.create(volume("v1"))]).result()
    absent = [volume("v2"), snapshot("v1"), volume("v1", "p2"), volume("v")]
    assert store.look_up(absent).result() == dict.fromkeys(absent)


def test_looking_up_nothing_finds_nothing(store: RedisStore) -> None:
    assert store.look_up([]).result() == {}


def test_writing_nothing_writes_nothing(stand: Stand, store: RedisStore) -> None:
    assert store.commit([]).result() == []
    store.remove([])
    store.release([])
    store.count_dead([])
    assert stand.contents() == {}


@pytest.mark.parametrize("encryption", [("aes-xts-plain64", 256), ('c"i\\pher é \u2028', 8)])
def test_a_created_item_is_held_with_its_new_key_and_scope(
    store: RedisStore, draft: Drafts, encryption: tuple[str, int]
) -> None:
    write = draft.create(volume("v1"), encryption=Encryption(*encryption))
    committed = only(store.commit([write]).result())
    assert committed == Committed(
        WriteStatus.WRITTEN, write.assignment, encode_data(write.assignment), has_waiting=False
    )
    assert store.look_up([volume("v1")]).result() == {volume("v1"): held(write)}


def test_a_clone_is_held_with_a_key_of_its_own_and_the_sources_scope(
    store: RedisStore, draft: Drafts
) -> None:
    source = put(store, draft.create(volume("v1")))
    write = draft.clone(volume("v2"), source)
    assert only(store.commit([write]).result()).status is WriteStatus.WRITTEN
    assert known(store, volume("v2")) == held(write, source)
    assert known(store, volume("v1")) == source


def test_a_reusing_item_is_held_with_the_sources_key_and_scope(
    store: RedisStore, draft: Drafts
) -> None:
    source = put(store, draft.create(volume("v1")))
    write = draft.reuse(snapshot("s1"), source)
    assert only(store.commit([write]).result()).status is WriteStatus.WRITTEN
    assert known(store, snapshot("s1")) == held(write, source)


def test_an_unencrypted_item_is_held_without_key_and_scope(
    store: RedisStore, draft: Drafts
) -> None:
    source = put(store, draft.none(volume("v1")))
    write = draft.none(snapshot("s1"), source)
    assert only(store.commit([write]).result()).status is WriteStatus.WRITTEN
    found = store.look_up([volume("v1"), snapshot("s1")]).result()
    assert found == {volume("v1"): source, snapshot("s1"): held(write, source)}


def test_an_item_may_be_created_from_a_source_whose_data_it_reencrypts(
    store: RedisStore, draft: Drafts
) -> None:
    source = put(store, draft.create(volume("v1")))
    write = draft.create(replica("r1"), source)
    assert only(store.commit([write]).result()).status is WriteStatus.WRITTEN
    assert known(store, replica("r1")) == held(write)


@pytest.mark.parametrize(
    "item",
    [
        volume(LONGEST),
        partition("policy-0/18/4711", "swift-eu1"),
        replica("policy-0/18/4711@obj-07", "A.b_c@d+e-f"),
        volume("v1", "p" * 128),
    ],
    ids=["longest", "partition", "replica", "longest-project"],
)
def test_every_id_that_the_contract_allows_is_kept_apart_and_found_again(
    store: RedisStore, draft: Drafts, item: Item
) -> None:
    write = draft.create(item)
    shorter = item._replace(id=item.id[:-1])
    longer = item._replace(id=item.id + "x")
    store.commit([write]).result()
    assert store.look_up([shorter, item, longer]).result() == {
        shorter: None,
        item: held(write),
        longer: None,
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
    stand: Stand, store: RedisStore, draft: Drafts, fields: dict[str, Any], keyed: bool
) -> None:
    draw = draft.create if keyed else draft.none
    write = draw(volume("v1"), **fields)
    store.commit([write]).result()
    found = known(store, volume("v1"))
    assert found == held(write)
    record = stand.value(stand.key("p1", "items"))[b"volume:v1"]
    assert record.startswith(b'{"data":' + found.data + b',"state":')


def test_whoever_comes_second_gets_the_first_ones_record(
    store: RedisStore, draft: Drafts, stand: Stand
) -> None:
    first, second = draft.create(volume("v1")), draft.create(volume("v1"), rule="another")
    winner = only(store.commit([first]).result())
    loser = only(stand.store().commit([second]).result())
    assert loser == Committed(WriteStatus.EXISTS, winner.assignment, winner.data, has_waiting=False)


@pytest.mark.parametrize("how", ["create", "clone", "reuse", "none"])
def test_a_losers_candidates_leave_nothing_behind(
    stand: Stand, store: RedisStore, draft: Drafts, how: str
) -> None:
    source = put(store, draft.create(volume("v1")))
    put(store, draft.create(volume("v2")))
    loser: AssignWrite = {
        "create": lambda: draft.create(volume("v2"), source),
        "clone": lambda: draft.clone(volume("v2"), source),
        "reuse": lambda: draft.reuse(volume("v2"), source),
        "none": lambda: draft.none(volume("v2"), source),
    }[how]()
    before = stand.contents()
    assert only(store.commit([loser]).result()).status is WriteStatus.EXISTS
    assert stand.contents() == before


def test_of_two_writes_for_one_item_in_a_batch_the_first_wins(
    store: RedisStore, draft: Drafts
) -> None:
    first, second = draft.create(volume("v1")), draft.create(volume("v1"))
    one, two = store.commit([first, second]).result()
    assert (one.status, two.status) == (WriteStatus.WRITTEN, WriteStatus.EXISTS)
    assert (two.assignment, two.data) == (one.assignment, one.data)


def test_the_answers_come_in_the_order_of_the_writes_whatever_their_projects(
    store: RedisStore, draft: Drafts
) -> None:
    items = [volume(f"v{n}", f"p{n % 3}") for n in range(12)]
    store.commit([draft.create(item) for item in items[::2]]).result()
    answers = store.commit([draft.create(item) for item in items]).result()
    assert [a.assignment and a.assignment.item for a in answers] == items
    assert [a.status for a in answers] == [WriteStatus.EXISTS, WriteStatus.WRITTEN] * 6
    assert all(isinstance(state, Held) for state in store.look_up(items).result().values())


@pytest.mark.parametrize("key_bits", [128, 512])
def test_each_scope_has_a_dek_that_unwraps_for_it_alone(
    stand: Stand, store: RedisStore, draft: Drafts, custody: KeyringCustody, key_bits: int
) -> None:
    encryption = Encryption("aes-xts-plain64", key_bits)
    one = put(store, draft.create(volume("v1"), encryption=encryption))
    two = put(store, draft.create(volume("v2"), encryption=encryption))
    assert one.scope is not None
    assert two.scope is not None
    wrapped = stand.value(stand.secret("p1", "deks"))
    blob = wrapped[one.scope.scope_id.encode()]
    assert len(custody.unwrap("p1", one.scope, blob)) == key_bits // 8
    with pytest.raises(PermanentError):
        custody.unwrap("p1", two.scope, blob)
    with pytest.raises(PermanentError):
        custody.unwrap("p2", one.scope, blob)
