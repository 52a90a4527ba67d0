"""What differs from run to run, written the same each time and as wide as it was.

An id is numbered by when it was first seen, so a transcript still shows which ids are the
same; `unmasked` finds the real one for a command that names it.
"""

import re
from collections.abc import Callable
from typing import Final

from tests.integration.cli.terminal import STYLE
from tests.kit.outside.worker import Site

UUID: Final = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
KEK: Final = r"\b[0-9a-f]{16}\b"
MAC: Final = r"\b[0-9a-f]{32}\b"
HEX: Final = re.compile("[0-9a-f]+").fullmatch
FIXED: Final = (
    # Keys and signatures in base64, and fingerprints as people compare them.
    (
        r"(?<![\w+/])[A-Za-z0-9+/]{40,}={0,2}",
        lambda it: it[0] if HEX(it[0]) else "A" * min(len(it[0]), 88),
    ),
    (r"\b[a-z2-7]{4}(-[a-z2-7]{4}){7}\b", lambda it: re.sub("[a-z2-7]", "a", it[0])),
    (r"\b[0-9a-f]{64}\b", lambda _: f"{0:064}"),
    (r"\b[0-9a-f]{128}\b", lambda _: f"{0:0128}"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(?=Z)", lambda it: _clocked(it[1] or "")),
    (r"\b1[0-9]{9}\.[0-9]+", lambda _: "1767225600.0"),
    (MAC, lambda _: f"{0:032}"),
    (r"\b127\.0\.0\.1:(?!1\b)\d+", lambda _: "127.0.0.1:9999"),
    (r"\b(Redis|Valkey|RabbitMQ) \d+(\.\d+)+", lambda it: f"{it[1]} 9.9.9"),
    # How many there were depends on what came together.
    (r"\b\d+ commits", lambda _: "9 commits"),
    # Lists are numbered by the time.
    (r"(?<=list=)\d{10}\b", lambda _: "1767225600"),
    (r"(?<=ms=)[0-9.]+", lambda _: "9"),
    (r"\b\d\.\d s (ahead of|behind) this", lambda _: "0.0 s behind this"),
)


def _clocked(fraction: str) -> str:
    return "2026-01-01T00:00:00" + re.sub(r"\d", "0", fraction)


class Masks:
    """The masks of one transcript."""

    def __init__(self) -> None:
        self._uuids: dict[str, str] = {}
        self._keks: dict[str, str] = {}

    def masked(self, text: str, site: Site) -> str:
        """Replace what no two runs have in common; styles are left as they are."""
        # Taken apart at the styles: to a pattern, their last letter would begin a word.
        return "".join(
            part if STYLE.fullmatch(part) else self._plain(part, site)
            for part in re.split(f"({STYLE.pattern})", text)
        )

    def _plain(self, text: str, site: Site) -> str:
        for wide, name in ((str(site.folder), "/srv/kmworker"), (site.namespace, "kmworker")):
            text = text.replace(wide, name)
        for pattern, mask in FIXED:
            text = re.sub(pattern, mask, text)
        text = re.sub(UUID, _numbered(self._uuids, "00000000-0000-4000-8000-{:012}"), text)
        return re.sub(KEK, _numbered(self._keks, "{:016}"), text)

    def unmasked(self, text: str) -> str:
        """Put the real ids back."""
        for real, mask in self._uuids.items():
            text = text.replace(mask, real)
        return text


def _numbered(seen: dict[str, str], form: str) -> Callable[[re.Match[str]], str]:
    def mask(found: re.Match[str]) -> str:
        if found[0] in seen.values():
            return found[0]
        return seen.setdefault(found[0], form.format(len(seen) + 1))

    return mask
