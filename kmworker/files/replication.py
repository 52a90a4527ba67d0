"""What rsync was measured to move of a replica: `make replication` writes it down."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["DATA", "measured_replication"]

DATA: Final = Path(__file__).with_name("replication.json")


@cache
def measured_replication() -> dict[str, Any]:
    """Return the run.

    `size_bytes` of the file; `rsync`, its version; `moved`, by the way of encryption (as in
    `bench/replication/ciphers.py`) and by what became of the file (`unchanged`, `overwritten`,
    `inserted`: 4 KiB at a quarter of it): `literal` and `wire` bytes.
    """
    found: dict[str, Any] = json.loads(DATA.read_text())
    return found
