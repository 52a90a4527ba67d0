"""CONTRIBUTING.md names files that are there."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]


def test_what_contributors_are_sent_to_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(
        r"`((?:\.ci|changes|config|docs|kmworker|requirements|tests)/[^`\s]*)`", text
    )
    # NAME and … stand for what is to be added.
    paths = [it for it in named if "NAME" not in it and "…" not in it]
    assert paths
    assert [it for it in paths if not (ROOT / it).exists()] == []
