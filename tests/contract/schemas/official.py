"""The official schema of AsyncAPI documents, published by its makers for other languages."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

# schemas/3.0.0.json of https://github.com/asyncapi/spec-json-schemas 6.11.1, sorted, on one line
# and without its examples: they are not applied, and releases differ in nothing else.
FILE = Path(__file__).with_name("asyncapi-3.0.0.json")
DIGEST = "e7b1f715453e8e4a9e56a28df864963db42095a60f2ccb515014fc04fbee603e"


@cache
def official_schema() -> dict[str, Any]:
    """The schema of AsyncAPI 3.0.0 as published, or an error."""
    schema: dict[str, Any] = json.loads(FILE.read_bytes())
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
    assert digest == DIGEST, "this is not the AsyncAPI Initiative's schema"
    return schema
