"""`kmworker demo`: the main job, from nothing, in one command."""

import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from kmworker.embedded.sample import SAMPLE
from tests.integration.cli.terminal import COLUMNS, STYLE, Terminal

README: Final = Path(__file__).parents[2] / "README.md"
IDS: Final = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?\b")
DELEGATION: Final = "delegation: the node that a volume is attached to gets its key, sealed to it:"
STEPS: Final = frozenset({
    "enrolled", "attached", "delivered", "refused", "detached", "recorded"
})  # fmt: skip
DECISION: Final = re.compile(r"  (\S+:\S+) +(\w+) +[0-9a-f]{8}  (\S+)(  \(again\))?")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines that someone sees who runs it in a terminal, where nothing is left of it."""
    folder = tmp_path_factory.mktemp("demo")
    # What to type next depends on whether the program is on the PATH: here it is not.
    environ = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath}
    with Terminal([sys.executable, "-m", "kmworker", "demo"], environ, folder) as screen:
        code = screen.ended()
        lines = STYLE.sub("", screen.seen()).splitlines()
    assert code == 0, lines
    assert not list(folder.glob("kmworker-demo-*"))
    return lines


def test_the_demonstration_shows_each_disposition_and_what_went_wrong(shown: list[str]) -> None:
    assert f"publishing {len(SAMPLE)} events:" in shown
    told = [found.groups() for line in shown if (found := DECISION.fullmatch(line))]
    assert {item: (disposition, rule) for item, disposition, rule, _ in told} == {
        "volume:db": ("create", "blank-volumes-get-a-key"),
        "snapshot:mon": ("reuse", "snapshots-share-the-key-id"),
        "snapshot:tue": ("reuse", "snapshots-share-the-key-id"),
        "volume:db-test": ("clone", "derived-volumes-get-a-clone"),
        "volume:db-copy": ("clone", "derived-volumes-get-a-clone"),
        "replica:db@nyc": ("reuse", "replicas-share-the-key-id"),
        "replica:mon@nyc": ("reuse", "replicas-share-the-key-id"),
        "replica:db@oslo": ("create", "reencrypted-replicas-get-a-key"),
        "partition:0/18/4711": ("create", "partitions-get-a-key"),
        "replica:0/18/4711@obj-1": ("reuse", "partition-replicas-share-the-key-id"),
        "replica:0/18/4711@obj-2": ("reuse", "partition-replicas-share-the-key-id"),
        "replica:0/18/4711@obj-3": ("reuse", "partition-replicas-share-the-key-id"),
        "volume:db-lent": ("create", "guard:cross-project"),
    }
    # The event that was sent twice, and no other.
    assert [item for item, *_, again in told if again] == ["snapshot:tue"]
    assert "  snapshot:lost  waits for volume:unknown" in shown
    assert "  malformed: the body is not JSON" in shown


def test_a_key_goes_to_the_node_that_its_volume_is_attached_to_and_to_no_other(
    shown: list[str],
) -> None:
    key_ids = {found[1]: found[0].split()[2] for line in shown if (found := DECISION.match(line))}
    told = [line.split() for line in shown[shown.index(DELEGATION) + 1 :]]
    steps = [words for words in told if words and words[0] in STEPS]
    assert [words[0] for words in steps] == [
        "enrolled", "attached", "delivered", "delivered", "delivered", "refused", "detached",
        "refused", "recorded",
    ]  # fmt: skip
    delivered = [words for words in steps if words[0] == "delivered"]
    # The volume's key, and its clone's, which is another key-id.
    assert [(words[1], words[2]) for words in delivered] == [
        ("volume:db", key_ids["volume:db"]),
        ("volume:db", key_ids["volume:db"]),
        ("volume:db-copy", key_ids["volume:db-copy"]),
    ]
    assert key_ids["volume:db"] != key_ids["volume:db-copy"]
    # What the first has encrypted, both have opened.
    assert [" ".join(words[3:]) for words in delivered[1:]] == [
        """blk-1 opens that: "a tenant's own data …\"""",
        """opens the same: "a tenant's own data …\"""",
    ]
    refused = [words[2:] for words in steps if words[0] == "refused"]
    assert refused == [["blk-2:", "not-granted"], ["blk-1:", "not-granted"]]
    assert " ".join(steps[-1][1:]).startswith("3 key-delivered, 2 key-refused")


def test_it_says_what_is_published_and_what_the_words_mean(shown: list[str]) -> None:
    for event in SAMPLE:
        assert f"  {event.type:14}  {event.item:23}  {event.says}" in shown
    told = "\n".join(shown)
    for disposition in ("create", "reuse", "clone"):
        assert f"  {disposition:7} " in told.partition("publishing")[0]


def test_it_fits_into_a_terminal(shown: list[str]) -> None:
    assert not [line for line in shown if len(line) > COLUMNS]


def test_the_readme_shows_what_it_prints_today(shown: list[str]) -> None:
    transcript = README.read_text().partition("$ make demo\n")[2].partition("```")[0]
    # Assignments arrive in an order of their own each time; and `…` stands for some lines.
    printed = {IDS.sub("id", line) for line in shown}
    as_here = transcript.replace(".venv/bin/kmworker", "python -m kmworker")
    told = [IDS.sub("id", line) for line in as_here.splitlines() if line != "…"]
    assert len(told) > len(SAMPLE)
    assert not [line for line in told if line not in printed]
