"""docs/security.md names the tests that show what it claims; they must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/security.md"
NAMED = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_\w+))?`", DOCUMENT.read_text())


def test_the_document_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_each_test_that_it_names_is_there(file: str, test: str) -> None:
    assert f"def {test}" in (ROOT / file).read_text() if test else (ROOT / file).is_file()
