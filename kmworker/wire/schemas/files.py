"""The schemas as files: the same bytes from the same code, so that a diff is a change."""

import json
from pathlib import Path
from typing import Final

from kmworker.wire.schemas.asyncapi import asyncapi
from kmworker.wire.schemas.messages import json_schemas

__all__ = ["ASYNCAPI_FILE", "texts", "write_schemas"]

ASYNCAPI_FILE: Final = "asyncapi.yaml"


def texts() -> dict[str, str]:
    """Return each file's text by its name."""
    schemas = {
        name: json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for name, schema in sorted(json_schemas().items())
    }
    # In the order that it is read in. JSON is YAML, too (YAML 1.2, section 1.3).
    return schemas | {ASYNCAPI_FILE: json.dumps(asyncapi(), indent=2) + "\n"}


def write_schemas(folder: Path) -> list[Path]:
    """Write all files into ``folder``, over what is there, and return their paths.

    Raises:
        OSError: the folder cannot be made or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts().items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written
