r"""From the class of a message to a JSON Schema that every validator reads in the same way.

The dialect is draft-07, the one that AsyncAPI 3 takes as it is, so that the files and
the document say the same; nothing here needs a later one. What programs differ over is
left out: references (draft-07 ignores what stands beside one), `anyOf` with null (generated
code becomes a union of classes), `format` (an assertion to some, a comment to others, and
stricter than the worker about leap seconds), and `\u` in patterns (unknown to Go's).
Patterns are ECMA 262, where `$` is the end; to Python's `re` it is also before a last line break.
"""

import re
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from kmworker.docstrings import descriptions

__all__ = ["DIALECT", "Schema", "schema_of"]

Schema = dict[str, Any]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
LATIN_1: Final = 0x100

# All that may occur, in the order in which they are read.
KEYWORDS: Final = (
    "description", "type", "const", "enum", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "items", "maxItems", "required", "properties", "additionalProperties",
)  # fmt: skip


class _Described(GenerateJsonSchema):
    """Takes what is written under a model's fields for their descriptions."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """Return a model's schema."""
        made = super().model_schema(schema)
        model: type = schema["cls"]
        said = descriptions(model)
        for name, field in made.get("properties", {}).items():
            if name in said:
                field.setdefault("description", said[name])
        return made


_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})")


def schema_of(message: type | TypeAdapter[Any]) -> Schema:
    """Return the schema of what a class or its adapter allows, self-contained.

    Raises:
        TypeError: the class uses a keyword that nobody has thought about yet.
    """
    adapter = message if isinstance(message, TypeAdapter) else TypeAdapter[object](message)
    whole = adapter.json_schema(schema_generator=_Described)
    return _tidied(whole, whole.get("$defs", {}))


def _tidied(schema: Schema, definitions: Schema) -> Schema:
    schema = _resolved(schema, definitions)
    # Titles are the names of Python classes and fields, only spaced.
    schema.pop("title", None)
    # A default of null is "absent" in other words; where null says more, it would be wrong.
    if schema.get("default", ...) is None:
        del schema["default"]
    # True is what is meant without it.
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]
    if "pattern" in schema:
        schema["pattern"] = _ESCAPE.sub(_unescaped, schema["pattern"])
    if "properties" in schema:
        fields = schema["properties"].items()
        schema["properties"] = {name: _tidied(field, definitions) for name, field in fields}
    if "items" in schema:
        schema["items"] = _tidied(schema["items"], definitions)
    if unknown := schema.keys() - set(KEYWORDS):
        raise TypeError(f"keywords without a place in the published schemas: {sorted(unknown)}")
    return {keyword: schema[keyword] for keyword in KEYWORDS if keyword in schema}


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Put in what is referred to, and fold `anyOf` with null into the type."""
    here = {name: value for name, value in schema.items() if name not in {"$ref", "$defs", "anyOf"}}
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        # The field's own description is the closer one.
        return _resolved(target, definitions) | here
    if "anyOf" in schema:
        [inner] = (branch for branch in schema["anyOf"] if branch != {"type": "null"})
        return _nullable(_resolved(inner, definitions)) | here
    return here


def _nullable(schema: Schema) -> Schema:
    schema = schema | {"type": [schema["type"], "null"]}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _unescaped(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    # In the file, JSON escapes it again.
    return f"\\x{code:02x}" if code < LATIN_1 else chr(code)
