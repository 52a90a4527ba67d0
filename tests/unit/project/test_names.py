"""One word for one idea: a class's name is that of one class."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import kmworker

PACKAGE: Final = Path(kmworker.__file__).parent

# One idea with two faces: the library's names are other people's, and the same people are meant.
SHARED: Final = {
    "Assignment": "the domain's, and the client library's, which has the announcement's id",
    "Release": "the domain's event, and what the client library makes of its announcement",
    "Producer": "the policy's entry for who publishes, and the client library's to publish with",
}


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in re.findall(r"^ *class (\w+)[(:]", path.read_text("utf-8"), re.MULTILINE):
            places[name].append(str(path.relative_to(PACKAGE)))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert shared.keys() == SHARED.keys(), shared
