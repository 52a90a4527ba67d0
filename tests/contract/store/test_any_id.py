"""Whatever ids and projects the contract allows: the scripts and indexes keep them apart.

Indexes are lists of `<ref> <entry>` and `<scope-id> <ref>`, searched from `<ref> ` up to `<ref>!`.
An id may itself hold `!`, which is the next character after a space, and may begin as
another one does; so ids are drawn that differ only in such ends.
"""

import re
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kmworker.domain.model import Item, Kind, Place
from kmworker.store.views.lineage import family_of, find, is_item_ref
from kmworker.wire.fields import ITEM_ID, PROJECT_ID
from tests.kit.store.builders import draft, held
from tests.kit.store.stand import DEADLINE_S, Stand, only, take

ASCII = "".join(map(chr, range(128)))
ALPHABET = "".join(it for it in ASCII if re.fullmatch(ITEM_ID, it))
PROJECT_ALPHABET = "".join(it for it in ASCII if re.fullmatch(PROJECT_ID, it))

# Ends that sort beside a space, look like a pattern of Lua's, or like a piece of a record.
ENDS = st.text("!#a:%.", max_size=3)
ANY_ID = st.text(ALPHABET, min_size=1, max_size=255)
IDS = st.builds(str.__add__, st.sampled_from(["a", "a!", "%S+", "-", "/", ":"]), ENDS) | ANY_ID
ITEMS = st.lists(
    st.tuples(st.sampled_from([Kind.VOLUME, Kind.SNAPSHOT]), IDS),
    min_size=1,
    max_size=6,
    unique=True,
)
PROJECTS = st.text(PROJECT_ALPHABET, min_size=1, max_size=128)

# A stand is one for all examples: each has a project of its own, and ends in no other's keys.
on_one_stand = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = count()


def test_the_alphabets_are_the_contracts() -> None:
    assert set(ASCII[33:127]) - set('"\\{}') == set(ALPHABET)
    assert set(PROJECT_ALPHABET) == set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+~=-"
    )


def items_of(drawn: Sequence[tuple[Kind, str]]) -> list[Item]:
    project = f"{next(NUMBERS)}"
    return [Item(project, kind, name) for kind, name in drawn]


def waiter(item: Item, number: int) -> Item:
    return Item(item.project, Kind.REPLICA, f"{number}")


@on_one_stand
@given(ITEMS, st.integers(1, 3))
@example([(Kind.VOLUME, "a"), (Kind.VOLUME, "a!"), (Kind.VOLUME, "a!b"), (Kind.VOLUME, "a!!")], 1)
@example([(Kind.VOLUME, "!"), (Kind.VOLUME, "!!")], 1)
def test_what_waits_for_an_item_is_found_for_it_and_for_no_other(
    stand: Stand, drawn: Sequence[tuple[Kind, str]], limit: int
) -> None:
    sources = items_of(drawn)
    project = sources[0].project
    for number, source in enumerate(sources):
        for entry in ("x", "y"):
            stand.commit(draft.park(waiter(source, number), source, f"{entry}{number}"))
    for number, source in enumerate(sources):
        names = [taken.entry.name for taken in stand.take(source)]
        assert names == [f"x{number}", f"y{number}"]
    # Of every other source that comes, its own events are found, and the sweep finds it once.
    come = sources[::2]
    for source in come:
        assert stand.put(draft.create(source)).has_waiting
    present: list[Item] = []
    after = ""
    while True:
        swept = stand.first.sweep(project, limit, after)
        assert swept.due == []
        present += swept.present
        after = swept.after
        if not after:
            break
    assert sorted(present) == sorted(come)
    stand.clock.sleep(DEADLINE_S)
    due = stand.first.sweep(project, 99, "").due
    assert {(taken.entry.source, taken.entry.expired) for taken in due} == {
        (source, source not in come) for source in sources
    }
    stand.first.remove([taken.entry for taken in due])
    assert stand.value(stand.key(project, "waiting:sources")) is None
    assert not stand.known(come[0]).has_waiting


@on_one_stand
@given(ITEMS)
@example([(Kind.VOLUME, "a!"), (Kind.VOLUME, "a"), (Kind.VOLUME, "a!b")])
@example([(Kind.VOLUME, "a"), (Kind.VOLUME, "a!")])
def test_only_an_item_that_is_waited_for_is_said_to_be(
    stand: Stand, drawn: Sequence[tuple[Kind, str]]
) -> None:
    awaited, *others = items_of(drawn)
    stand.commit(draft.park(waiter(awaited, 0), awaited))
    for item in others:
        assert not only(stand.commit(draft.create(item))).has_waiting
        assert not stand.known(item).has_waiting
    assert only(stand.commit(draft.create(awaited))).has_waiting
    assert stand.known(awaited).has_waiting


@on_one_stand
@given(ITEMS)
@example([(Kind.VOLUME, "a"), (Kind.VOLUME, "a!"), (Kind.SNAPSHOT, "a:b"), (Kind.VOLUME, "a:b")])
def test_each_item_has_its_own_record_scope_and_place_in_the_lineage(
    stand: Stand, drawn: Sequence[tuple[Kind, str]]
) -> None:
    root, *others = items_of(drawn)
    master = stand.put(draft.create(root))
    for other in others:
        stand.put(draft.clone(other, master))
        assert stand.known(other).assignment.item == other
    views = stand.views("dashboard")
    assert master.scope is not None
    family = family_of(views, root.project, master.scope.scope_id)
    assert sorted(member.ref for member in family.members) == sorted(
        item.ref for item in (root, *others)
    )
    for item in (root, *others):
        assert is_item_ref(item.ref)
        place = Place(item.project, "items", item.ref)
        assert find(views, item.ref, [item.project]) == [place]


@on_one_stand
@given(st.lists(PROJECTS, min_size=2, max_size=4, unique=True), IDS)
@example(["a", "a:items", "a:b", "."], "a")
@example(["-", "=", "~root", "@"], "--help")
def test_projects_are_kept_apart(stand: Stand, projects: list[str], name: str) -> None:
    stand.clear()
    store = stand.store()
    volumes = [Item(project, Kind.VOLUME, name) for project in projects]
    writes = [draft.create(volume) for volume in volumes]
    store.commit(writes).result()
    assert len({write.assignment.scope_id for write in writes}) == len(projects)
    assert list(store.look_up(volumes).result().values()) == [held(write) for write in writes]
    assert stand.value(stand.top("projects")) == {project.encode() for project in projects}
    one, other = (volume._replace(id="y" if name == "x" else "x") for volume in volumes[:2])
    store.commit([draft.park(Item(one.project, Kind.REPLICA, "r"), one)]).result()
    assert take(store, other, 9) == []
    assert len(take(store, one, 9)) == 1


@pytest.mark.parametrize("letter", ALPHABET)
def test_no_character_of_an_id_is_special_to_a_script(stand: Stand, letter: str) -> None:
    volume = Item("p1", Kind.VOLUME, f"{letter}x{letter}")
    snapshot = Item("p1", Kind.SNAPSHOT, letter)
    stand.commit(draft.park(snapshot, volume, "e"))
    held = stand.put(draft.create(volume))
    assert held.has_waiting
    assert [taken.entry.source for taken in stand.take(volume)] == [volume]
    assert stand.put(draft.reuse(snapshot, held)).assignment.source == volume
