"""Exports: some lines of a trail as they are, and of those in between the digests.

::

    {"export":{"trail":…,"first":17,"previous":"…","filter":{…}}}
    lines; for what is left out {"omitted":["<64 hex>",…],"line":18}
    {"end":{"line":4711,"digest":"…","heading":"<SHA-256 of the first line>"}}

So whoever gets records of one project sees that none of them was changed, removed, moved or
doubled, and nothing of the others. That none of them was left out by the exporter they do not see.
"""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

from kmworker.audit.lines import Line, Tip, read_line
from kmworker.audit.records import RecordFilter
from kmworker.domain.values import value

__all__ = ["MAX_OMITTED", "Ended", "Heading", "Omitted", "export_lines", "read_part"]

MAX_OMITTED: Final = 1000
"""Digests in one line: 67 KB."""
HEX: Final = re.compile("[0-9a-f]{64}")
OTHERS: Final = (b'{"export":', b'{"omitted":', b'{"end":')


@value
class Heading:
    """How an export begins."""

    trail: str
    first: int
    """The number of its first line."""
    previous: str
    """The digest of the line before that."""
    digest: str
    """Of the heading itself."""


@value
class Omitted:
    """Lines that were left out."""

    number: int
    """Of the first of them."""
    digests: tuple[str, ...]
    """Of their contents."""


@value
class Ended:
    """How an export ends."""

    tip: Tip
    heading: str
    """The digest of how it began."""


def read_part(text: bytes) -> Line | Heading | Omitted | Ended:
    """Read one line of a trail's file or of an export.

    Raises:
        ValueError: it is none, or not as it was written.
    """
    if not text.startswith(OTHERS):
        return read_line(text)
    try:
        fields = json.loads(text)
        (first, *_) = fields
        return _export_part(first, fields, text)
    except (KeyError, TypeError, RecursionError):
        raise ValueError("not a line of an export") from None


def _export_part(
    kind: str,
    fields: Any,  # noqa: ANN401  # JSON
    text: bytes,
) -> Heading | Omitted | Ended:
    match kind:
        case "export":
            it = fields["export"]
            digest = sha256(text).hexdigest()
            return Heading(str(it["trail"]), _number(it["first"]), _hex(it["previous"]), digest)
        case "omitted":
            digests = tuple(_hex(it) for it in fields["omitted"])
            return Omitted(_number(fields["line"]), digests)
        case _:
            it = fields["end"]
            return Ended(Tip(_number(it["line"]), _hex(it["digest"])), _hex(it["heading"]))


def export_lines(lines: Iterable[bytes], wanted: RecordFilter, trail: str) -> Iterator[bytes]:
    """Give the lines of an export, without their line breaks.

    What is not a record is always whole: checkpoints sign, and beginnings list writers. It goes on
    behind ``until`` to the next checkpoint, if there is one, so that its end is signed, too.

    Args:
        lines: of the trail's files, from the one on that has the first wanted.
        wanted: which records.
        trail: whose lines these are.

    Raises:
        ValueError: the trail has a line that is not as it was written.
    """
    omitted: list[str] = []
    began: Line | None = None
    last: Line | None = None
    heading = b""
    for text in lines:
        line = read_line(text)
        if wanted.since is not None and line.at < wanted.since:
            continue
        if began is None:
            began = line
            heading = _heading(trail, line, wanted)
            yield heading
        is_late = wanted.until is not None and line.at > wanted.until
        if line.kind == "record" and (is_late or not wanted.wants(line.body)):
            omitted.append(sha256(line.content).hexdigest())
            if len(omitted) == MAX_OMITTED:
                yield _omitted(line.number, omitted)
        else:
            if omitted:
                yield _omitted(line.number - 1, omitted)
            yield text
        last = line
        if is_late and line.kind == "checkpoint":
            break
    if omitted and last is not None:
        yield _omitted(last.number, omitted)
    if last is not None:
        began_as = sha256(heading).hexdigest()
        end = {"line": last.number, "digest": last.digest, "heading": began_as}
        yield json.dumps({"end": end}, separators=(",", ":")).encode()


def _heading(trail: str, first: Line, wanted: RecordFilter) -> bytes:
    said = {
        "trail": trail, "first": first.number, "previous": first.previous, "filter": wanted.fields,
    }  # fmt: skip
    return json.dumps({"export": said}, separators=(",", ":")).encode()


def _omitted(last: int, digests: list[str]) -> bytes:
    """Return the line for what was left out up to this number, and forget it."""
    said = {"omitted": digests, "line": last - len(digests) + 1}
    line = json.dumps(said, separators=(",", ":")).encode()
    digests.clear()
    return line


def _hex(text: object) -> str:
    if not isinstance(text, str) or HEX.fullmatch(text) is None:
        raise ValueError("not a digest")
    return text


def _number(found: object) -> int:
    if not isinstance(found, int) or found < 1:
        raise ValueError("not the number of a line")
    return found
