"""The tables of docs/replication.md, between their marks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.replication.ciphers import WAYS
from bench.replication.luks import CHANGED_PASSPHRASE, COPIED, FORMATTED_ANEW
from bench.replication.measuring import CHANGES
from bench.tables import table

__all__ = ["rendered", "rows"]

TEXTS: Final = {way.id: way.text for way in WAYS} | {
    COPIED: "LUKS, the volume copied",
    CHANGED_PASSPHRASE: "LUKS, copied, another passphrase",
    FORMATTED_ANEW: "LUKS, the same content under a format of its own",
}
WHOLE: Final = {
    "touched": "`--whole-file`: 4 KiB overwritten",
    "there": "`--whole-file --ignore-existing`, as Swift has it: a replica is there",
    "missing": "the same: none is there",
}
MARKS: Final = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- /measured -->)", re.DOTALL)


def rows(measured: Mapping[str, Any]) -> list[str]:
    """Return the tables of a run, as `kmworker.files.replication` reads it."""
    size = measured["size_bytes"]
    head = ("literal bytes", "unchanged", "4 KiB overwritten", "4 KiB inserted")
    moved = [_row(TEXTS[way], [row.get(it) for it in CHANGES], size)
             for way, row in measured["moved"].items()]  # fmt: skip
    whole = [_row(text, [measured["whole"][it]], size) for it, text in WHOLE.items()]
    return [
        f"A file of {size >> 20} MiB, changed at a quarter of it; rsync {measured['rsync']}.",
        "",
        *table(head, moved),
        "",
        *table(("literal bytes", "moved"), whole),
        "",
        f"On the wire there are up to {_beside(measured):,} bytes more, for checksums.",
    ]


def rendered(text: str, measured: Mapping[str, Any]) -> str:
    """Return the document with the tables of a run."""
    assert MARKS.search(text), "the document has lost its marks"
    return MARKS.sub(lambda _: "\n".join(["", *rows(measured), "", ""]), text)


def _row(text: str, row: Sequence[Mapping[str, int] | None], size: int) -> list[str]:
    return [text, *("" if it is None else _share(it["literal"], size) for it in row)]


def _share(literal: int, size: int) -> str:
    return f"{literal:,} ({100 * literal / size:.1f} %)"


def _beside(measured: Mapping[str, Any]) -> int:
    moved = [it for row in measured["moved"].values() for it in row.values()]
    return max(int(it["wire"] - it["literal"]) for it in (*moved, *measured["whole"].values()))
