"""Lineages as trees, however odd."""

import json
from collections.abc import Sequence

import pytest

from kmworker.cli.installation.lineage import MAX_DEPTH, Seals, family_json, family_tree
from kmworker.cli.terminal.output import display
from kmworker.domain.model import Place
from kmworker.store.views.lineage import Derived, Family, Member, Record

NO_SEALS = Seals(None)


def member(name: str, source: str | None = None) -> Member:
    """A volume made from another one."""
    data = {
        "disposition": "clone",
        "key_id": f"k-{name}",
        "source": source and {"kind": "volume", "id": source, "project_id": "p1"},
    }
    raw = json.dumps({"data": data}).encode()
    return Member(f"volume:{name}", Record(Place("p1", "items", f"volume:{name}"), raw), "active")


def drawn(
    members: Sequence[Member],
    capsys: pytest.CaptureFixture[str],
    derived: list[Derived] | None = None,
) -> list[str]:
    """The lines of a tree, without key-ids and states."""
    display(family_tree("scope", "p1", Family(list(members), 0, derived), NO_SEALS))
    return [line.partition("  clone")[0] for line in capsys.readouterr().out.splitlines()]


def test_items_stand_under_their_sources_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    members = [member("c", "b"), member("a"), member("d", "a"), member("b", "a")]
    assert drawn(members, capsys) == [
        "scope",
        "└── volume:a",
        "    ├── volume:d",
        "    └── volume:b",
        "        └── volume:c",
    ]


ODD = {
    "itself": [member("a", "a")],
    "each other": [member("a", "b"), member("b", "a")],
    "a circle below a root": [member("r"), member("a", "b"), member("b", "c"), member("c", "a")],
    "a source that is not here": [member("a", "elsewhere"), member("b", "a")],
    "twice the same": [member("a"), member("a")],
}


@pytest.mark.parametrize("members", ODD.values(), ids=ODD)
def test_every_item_is_drawn_once(
    members: list[Member], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [line.split()[-1] for line in drawn(members, capsys)[1:]]
    assert sorted(names) == sorted({it.ref for it in members})


def test_a_chain_too_deep_for_a_terminal_goes_on_beside_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain = [member("c0"), *(member(f"c{n}", f"c{n - 1}") for n in range(1, 1_000))]
    lines = drawn(chain, capsys)
    assert len(lines) == 1_001
    assert max(line.index("volume:") for line in lines[1:]) == 4 * MAX_DEPTH


def test_a_derived_scope_whose_source_is_not_drawn_is_still_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    derived = [Derived("s2", "volume:x", "volume:a"), Derived("s3", "volume:y", "")]
    assert drawn([member("a")], capsys, derived) == [
        "scope",
        "├── volume:a",
        "│   └── scope s2 of volume:x, own DEK",
        "└── scope s3 of volume:y, own DEK",
    ]


def test_a_program_gets_the_lineage_flat() -> None:
    family = Family([member("a"), member("b", "a")], 3, [Derived("s2", "volume:x", "")])
    assert family_json("p1", family, NO_SEALS) == {
        "items": [
            {"ref": "volume:a", "source": None, "disposition": "clone", "key_id": "k-a",
             "key_state": "active", "released": False, "seal": "unknown"},
            {"ref": "volume:b", "source": "volume:a", "disposition": "clone", "key_id": "k-b",
             "key_state": "active", "released": False, "seal": "unknown"},
        ],
        "more": 3,
        "derived": [{"scope_id": "s2", "root": "volume:x", "source": None}],
    }  # fmt: skip
