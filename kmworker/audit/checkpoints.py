"""Checkpoints: what the trail was at a moment, signed by the auditor's own key.

One that is kept elsewhere shows an end that was cut off later, and an auditor that was started on
an old copy: it would write other lines under the same numbers.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from kmworker.audit.lines import Tip
from kmworker.domain.values import value

__all__ = ["CheckSignature", "Checkpoint", "Signer", "read_checkpoint", "read_checkpoints", "sign"]

VERSION: Final = "kmworker audit checkpoint v1"
SHAPES: Final[Mapping[str, re.Pattern[str]]] = {
    "trail": re.compile("[0-9a-f]{32}"),
    "digest": re.compile("[0-9a-f]{64}"),
    "at": re.compile("[0-9T:.Z-]{20,40}"),
    "segment": re.compile("[A-Za-z0-9.-]{1,100}"),
    "key": re.compile("[0-9a-f]{64}"),
    "signature": re.compile("[0-9a-f]{128}"),
}

CheckSignature = Callable[[str, bytes, str], bool]
"""Whether a signature (hexadecimal) is that of a public key (hexadecimal) over some bytes."""


class Signer(Protocol):
    """The auditor's own key."""

    public: str
    """The public half, in hexadecimal."""

    def sign(self, data: bytes) -> str:
        """Return the signature over it, in hexadecimal."""


@value
class Checkpoint:
    """What an auditor has signed."""

    trail: str
    """A random number that the trail was given when it was begun."""
    segment: str
    """The name of the file that the line is in."""
    line: int
    """How many lines there were."""
    digest: str
    """Of the last of them."""
    at: str
    key: str
    """The public key, in hexadecimal."""
    signature: str

    @property
    def signed(self) -> bytes:
        """Return what is signed: a line for each field, none of which can have a break in it."""
        parts = (VERSION, self.trail, self.segment, str(self.line), self.digest, self.at)
        return "".join(f"{part}\n" for part in parts).encode()

    @property
    def fields(self) -> dict[str, Any]:
        """Return it as it is written."""
        return {
            "trail": self.trail, "segment": self.segment, "line": self.line,
            "digest": self.digest, "at": self.at, "key": self.key, "signature": self.signature,
        }  # fmt: skip

    @property
    def body(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.fields, separators=(",", ":")).encode()


def sign(signer: Signer, trail: str, segment: str, tip: Tip, at: str) -> Checkpoint:
    """Return a checkpoint of the trail as it is."""
    unsigned = Checkpoint(trail, segment, tip.number, tip.digest, at, signer.public, "")
    return Checkpoint(**{**unsigned.fields, "signature": signer.sign(unsigned.signed)})


def read_checkpoint(fields: Any) -> Checkpoint:  # noqa: ANN401  # parsed JSON
    """Read a checkpoint; whether it was signed is another question.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(fields, dict) or not isinstance(line := fields.get("line"), int) or line < 0:
        raise ValueError("not a checkpoint")
    texts = {name: fields.get(name) for name in SHAPES}
    for name, shape in SHAPES.items():
        if not isinstance(texts[name], str) or shape.fullmatch(str(texts[name])) is None:
            raise ValueError(f"not a checkpoint: {name} is missing or malformed")
    return Checkpoint(line=line, **{name: str(text) for name, text in texts.items()})


def read_checkpoints(lines: Iterable[bytes]) -> list[Checkpoint]:
    """Read checkpoints that were kept elsewhere, one a line: as published, or as they were logged.

    Raises:
        ValueError: a line is none.
    """
    found = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
            inner = fields.get("checkpoint", fields) if isinstance(fields, dict) else None
            found.append(read_checkpoint(inner))
        except (ValueError, RecursionError):
            raise ValueError(f"line {number}: not a checkpoint") from None
    return found
