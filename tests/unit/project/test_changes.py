"""Each change that users notice has a file, of which the changelog is made: `changes/`."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "changes"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
TYPES: Final = [it["directory"] for it in PROJECT["tool"]["towncrier"]["type"]]
MAX_LINES: Final = 4


def test_the_readme_tells_the_types_in_their_order() -> None:
    told = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)
    assert told == TYPES


def test_each_change_is_of_a_known_type_and_short() -> None:
    for it in FOLDER.iterdir():
        if it.name == "README.md":
            continue
        # Of a file with another name the changelog would say nothing, or say it under a number.
        assert re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(TYPES)})\.md", it.name), it.name
        lines = it.read_text().splitlines()
        assert 0 < len(lines) <= MAX_LINES, f"{it.name} has {len(lines)} lines"
        assert lines[0].strip(), f"{it.name} begins with an empty line"
