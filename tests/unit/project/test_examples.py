"""What the documents show is what the tests run."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENTS = ("producing.md", "subscribing.md", "delegating.md", "delegation-protocol.md")
LANGUAGES = {".py": {"python"}, ".sh": {"sh", "bash"}}

LINK = re.compile(r"\[[^\]]*\]\((?P<path>[^)#:]+)(?:#[^)]*)?\)")
BLOCK = re.compile(
    r"(?:^\[examples/(?P<name>[^\]]+)\]\(examples/(?P=name)\)\n\n)?"
    r"^```(?P<language>\w+)\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def read(document: str) -> str:
    return (DOCS / document).read_text("utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_program_in_the_documents_is_an_example(document: str) -> None:
    for block in BLOCK.finditer(read(document)):
        if any(block["language"] in it for it in LANGUAGES.values()):
            assert block["name"], f"from nowhere: {block['content']}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_stands_in_the_document_as_it_is(document: str) -> None:
    for block in BLOCK.finditer(read(document)):
        if block["name"]:
            example = DOCS / "examples" / block["name"]
            assert block["content"] == example.read_text("utf-8"), block["name"]
            assert block["language"] in LANGUAGES[example.suffix]


def test_every_example_is_in_a_document() -> None:
    shown = {block["name"] for name in DOCUMENTS for block in BLOCK.finditer(read(name))}
    examples = {path.name for path in (DOCS / "examples").iterdir() if path.is_file()}
    assert examples == shown - {None}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    for link in LINK.finditer(read(document)):
        assert (DOCS / link["path"]).is_file(), link["path"]
