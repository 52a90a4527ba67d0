"""The schemas as files: the same bytes from the same code, so that a diff is a change."""

import json
from pathlib import Path
from typing import Final

from kmworker.schemas.asyncapi import asyncapi
from kmworker.schemas.block_yaml import block_yaml
from kmworker.schemas.messages import json_schemas

__all__ = ["ASYNCAPI_FILE", "texts", "write_schemas"]

ASYNCAPI_FILE: Final = "asyncapi.yaml"


def texts() -> dict[str, str]:
    """Return each file's text by its name."""
    schemas = {
        name: json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for name, schema in sorted(json_schemas().items())
    }
    return schemas | {ASYNCAPI_FILE: block_yaml(asyncapi())}


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
