"""The official schema of AsyncAPI documents, out of a package that happens to carry it.

The AsyncAPI Initiative publishes it for JavaScript and Go only. On PyPI it is in a library
for state machines, of which nothing else is used: the file is read, the code not imported.
"""

import hashlib
import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

# Of schemas/3.0.0.json in the npm package @asyncapi/specs, 6.10.0 and 6.11.1 alike, without
# its examples: they are not applied, and the two differ in them.
DIGEST = "e7b1f715453e8e4a9e56a28df864963db42095a60f2ccb515014fc04fbee603e"


@cache
def official_schema() -> dict[str, Any]:
    """The schema of AsyncAPI 3.0.0 as published, or an error."""
    carrier = distribution("xstate-statemachine")
    path = Path(str(carrier.locate_file("xstate_statemachine/eda/_asyncapi_schema.json")))
    schema: dict[str, Any] = _without_examples(json.loads(path.read_bytes()))
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
    if digest != DIGEST:
        raise AssertionError("this is not the AsyncAPI Initiative's schema")
    return schema


def _without_examples(value: Any) -> Any:
    """Leave out the annotations; a property that is named examples is an object and stays."""
    if isinstance(value, dict):
        return {
            name: _without_examples(inner)
            for name, inner in value.items()
            if not (name == "examples" and isinstance(inner, list))
        }
    return [_without_examples(inner) for inner in value] if isinstance(value, list) else value
