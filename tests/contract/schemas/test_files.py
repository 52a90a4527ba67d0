"""The published files: made from the code, complete, and read alike by every validator."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from kmworker.domain.event import Unreadable
from kmworker.wire.events.definition import EVENT_TYPES
from kmworker.wire.events.reading import parse
from kmworker.wire.key_changes import KEY_EVENT_TYPES
from kmworker.wire.requests.definition import REQUEST_TYPES
from kmworker.wire.schemas import json_schemas, texts, write_schemas
from kmworker.wire.schemas.dialect import schema_of as model_schema_of
from tests.kit.published_schemas import complaints, schema_of, subschemas

FOLDER = Path(__file__).parents[3] / "schemas"
ANSWERS = ["key-delivered", "key-refused", "key-revoked"]
MESSAGES = [
    *EVENT_TYPES, "key-assigned", "key-released", *KEY_EVENT_TYPES, *REQUEST_TYPES, *ANSWERS,
    "audit-recorded",
]  # fmt: skip
DOCUMENTS = ["enrolment", "enrolment-request", "trust-list"]
SCHEMAS = [*MESSAGES, *DOCUMENTS]
FILES = sorted([*(f"{schema}.v1.json" for schema in SCHEMAS), "asyncapi.yaml"])


def test_the_files_say_what_the_code_says() -> None:
    found = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir() if path.is_file()}
    assert found == texts(), "run: kmworker schemas"


def test_there_is_a_file_for_every_message_and_one_for_the_broker() -> None:
    assert sorted(texts()) == FILES


def test_writing_puts_the_same_bytes_into_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    written = write_schemas(folder)
    assert [path.read_bytes() for path in written] == [text.encode() for text in texts().values()]
    (folder / "asyncapi.yaml").write_text("old")
    assert write_schemas(folder) == written
    assert (folder / "asyncapi.yaml").read_text("utf-8") == texts()["asyncapi.yaml"]
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_the_bytes_do_not_depend_on_the_process() -> None:
    script = "import json; from kmworker.wire.schemas import texts; print(json.dumps(texts()))"
    for seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert json.loads(output) == texts()


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_plain_text_that_ends_in_one_line_break(name: str) -> None:
    text = texts()[name]
    assert re.fullmatch(r"[ -~\n]*[^\n]\n", text)
    assert not re.search(r" $", text, re.MULTILINE)


@pytest.mark.parametrize("message", SCHEMAS)
def test_a_json_file_is_sorted_and_indented_by_two(message: str) -> None:
    text = texts()[f"{message}.v1.json"]
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert json.loads(text) == schema_of(message)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_file_names_itself_its_version_and_its_dialect(message: str) -> None:
    schema = schema_of(message)
    assert schema["$id"] == f"urn:kmworker:schemas:{message}.v1"
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["title"] == message
    assert schema["properties"]["type"]["const"] == message
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_documents_file_names_itself_and_what_the_document_says_it_is(document: str) -> None:
    schema = schema_of(document)
    assert schema["$id"] == f"urn:kmworker:schemas:{document}.v1"
    assert schema["title"] == document
    assert schema["properties"]["document"]["const"] == f"kmworker/{document}"
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("message", SCHEMAS)
def test_every_field_is_described(message: str) -> None:
    for path, schema in subschemas(schema_of(message)):
        assert schema["description"].endswith("."), path
        # A docstring's indentation is not the reader's.
        assert "\n " not in schema["description"]


@pytest.mark.parametrize("message", SCHEMAS)
def test_an_example_is_valid(message: str) -> None:
    schema = schema_of(message)
    [example] = schema["examples"]
    assert complaints(schema, example) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_worker_takes_an_events_example(event_type: str) -> None:
    [example] = schema_of(event_type)["examples"]
    assert not isinstance(parse(json.dumps(example).encode(), None, event_type), Unreadable)


# --- what validators differ over ----------------------------------------------------------

# One class of characters, literal but for \x and escaped dots, or a group of such.
CLASS = r"\[\^?(?:[^\\\[\]]|\\x[0-9a-f]{2})+\]"
ATOM = rf"(?:{CLASS}|[A-Za-z0-9:-]|\\\.)(?:\+|\{{[0-9]+(?:,[0-9]+)?\}})?"
GROUP = rf"\({ATOM}(?:\|?{ATOM})*\)(?:\?|\{{[0-9]+\}})?"
PORTABLE = re.compile(rf"\^(?:{ATOM}|{GROUP})+\$")


def patterns() -> list[str]:
    found = {
        schema["pattern"]
        for whole in json_schemas().values()
        for _path, schema in subschemas(whole)
        if "pattern" in schema
    }
    return sorted(found)


@pytest.mark.parametrize("pattern", patterns())
def test_a_pattern_is_anchored_and_means_the_same_in_every_language(pattern: str) -> None:
    assert PORTABLE.fullmatch(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["a", "^a", "a$", r"^\d$", r"^\w+$", r"^a\Z$", r"^(?=a)$", r"^[\u0000]$", r"^.$", r"^\p{L}$"],
)
def test_a_pattern_that_some_language_reads_otherwise_would_be_seen(pattern: str) -> None:
    assert not PORTABLE.fullmatch(pattern)


@pytest.mark.parametrize("message", SCHEMAS)
def test_a_schema_has_nothing_that_validators_differ_over(message: str) -> None:
    text = json.dumps(schema_of(message))
    for keyword in ("$ref", "$defs", "definitions", "anyOf", "format", "default"):
        assert f'"{keyword}"' not in text


def test_a_keyword_that_nobody_has_thought_about_stops_the_generation() -> None:
    class Sorted(BaseModel):
        words: tuple[str, int]

    with pytest.raises(TypeError, match="prefixItems"):
        model_schema_of(Sorted)


def test_unknown_fields_of_an_assignment_are_left_to_later_versions() -> None:
    schema = schema_of("key-assigned")
    [example] = schema["examples"]
    assert complaints(schema, _with_more(example)) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_event_may_have_unknown_attributes_and_no_unknown_data(event_type: str) -> None:
    schema = schema_of(event_type)
    [example] = schema["examples"]
    assert complaints(schema, example | {"x-more": [1]}) == []
    more = _with_more(example["data"])
    objects = 1 + sum(isinstance(value, dict) for value in more.values())
    assert len(complaints(schema, example | {"data": more})) == objects


def _with_more(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_more(inner) for name, inner in value.items()} | {"x-more": [1]}
    return value
