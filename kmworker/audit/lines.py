r"""One line of the trail: each holds the digest of the one before, and its own.

::

    {"previous":"<64 hex>","line":17,"at":"…","record":{…},"digest":"<64 hex>"}

What stands between `previous` and `digest` is the line's content, byte for byte as it was written.
``digest`` is the SHA-256 of the 64 characters of `previous` and the 64 of the content's SHA-256. So
an export can leave a content out and keep its digest, and the chain still holds.

Whoever can write the files can compute all digests anew: against that there are checkpoints.
"""

import json
import re
from hashlib import sha256
from typing import Any, Final

from kmworker.domain.values import value

__all__ = [
    "GENESIS",
    "KINDS_OF_LINES",
    "Line",
    "Tip",
    "append",
    "content_of",
    "linked",
    "read_line",
]

KINDS_OF_LINES: Final = ("segment", "record", "conflicting", "unreadable", "checkpoint")
"""What a line has one of: the beginning of a file; an act; another one under the number of one
that was there; a message that is no record; a signed checkpoint."""
HEAD: Final = b'{"previous":"'
TAIL: Final = b',"digest":"'
DIGEST_CHARACTERS: Final = 64
CONTENT_AT: Final = len(HEAD) + DIGEST_CHARACTERS + len(b'",')
CONTENT_ENDS: Final = len(TAIL) + DIGEST_CHARACTERS + len(b'"}')
FRAME: Final = re.compile(
    rb'\{"previous":"[0-9a-f]{64}","line":[1-9][0-9]{0,18},[^\n]*,"digest":"[0-9a-f]{64}"\}'
)


@value
class Tip:
    """Where the chain ends."""

    number: int
    """Of the last line; 0: there is none."""
    digest: str
    """Of the last line, in hexadecimal."""


GENESIS: Final = Tip(0, "0" * DIGEST_CHARACTERS)


@value
class Line:
    """A line as it stands in a file."""

    number: int
    previous: str
    content: bytes
    digest: str
    kind: str
    """One of `KINDS_OF_LINES`; empty for one that a later release has added."""
    fields: dict[str, Any]

    @property
    def tip(self) -> Tip:
        """Return where the chain ends with it."""
        return Tip(self.number, self.digest)

    @property
    def at(self) -> str:
        """Return when the auditor wrote it, RFC 3339, UTC."""
        return str(self.fields.get("at", ""))

    @property
    def body(self) -> bytes:
        """Return what came, as it came; empty of what is no record."""
        if self.kind not in {"record", "conflicting"}:
            return b""
        # Nothing before it can have this in it: in a text, quotes are escaped.
        return self.content.partition(f',"{self.kind}":'.encode())[2]


def content_of(number: int, at: str, kind: str, body: bytes, user: str | None = None) -> bytes:
    """Return the content of a line.

    Args:
        number: of the line.
        at: when it is written.
        kind: one of `KINDS_OF_LINES`.
        body: JSON, without a line break.
        user: who published it, as the broker has checked.
    """
    known = b"" if user is None else b',"user":' + json.dumps(user).encode()
    return b'"line":%d,"at":"%s"%s,"%s":%s' % (number, at.encode(), known, kind.encode(), body)


def linked(previous: str, content_digest: str) -> str:
    """Return the digest of a line from those of the line before and of its content."""
    return sha256(f"{previous}{content_digest}".encode()).hexdigest()


def append(tip: Tip, content: bytes) -> tuple[bytes, Tip]:
    """Return the line that holds ``content``, without its line break, and the new end."""
    digest = linked(tip.digest, sha256(content).hexdigest())
    line = b'%s%s",%s%s%s"}' % (HEAD, tip.digest.encode(), content, TAIL, digest.encode())
    return line, Tip(tip.number + 1, digest)


def read_line(text: bytes) -> Line:
    """Read a line without its line break; it is as it was written.

    Raises:
        ValueError: it is not; no more is said of it, since it may be anything.
    """
    if FRAME.fullmatch(text) is None:
        raise ValueError("not framed as a line of the trail")
    previous = text[len(HEAD) : CONTENT_AT - 2].decode()
    content = text[CONTENT_AT:-CONTENT_ENDS]
    digest = text[-DIGEST_CHARACTERS - 2 : -2].decode()
    if linked(previous, sha256(content).hexdigest()) != digest:
        raise ValueError("its digest is not that of its content")
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    number = fields.get("line")
    if not isinstance(number, int):
        # A second `line` behind the one that the frame shows.
        raise ValueError("its number is no number")  # noqa: TRY004  # as of anything else
    kind = next((it for it in KINDS_OF_LINES if it in fields), "")
    return Line(number, previous, content, digest, kind, fields)
