"""A document as YAML that people read: blocks for structure, JSON for every doubtful text.

JSON's strings are YAML's double-quoted ones (YAML 1.2, section 1.3), so nothing has to be
known of what YAML would make of a plain text, except of the harmless words left unquoted.
A whole YAML library to write one file would be one more thing installed beside keys.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["block_yaml"]

_WORD: Final = re.compile(r"\$?[A-Za-z][A-Za-z0-9_-]*")
# What one YAML or another takes for a boolean or null, in any case.
NOT_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_LINES: Final = re.compile(r"[!-~][ -~]*(\n|\n[!-~][ -~]*)*[!-~]")


def block_yaml(document: dict[str, Any]) -> str:
    """Return ``document`` in its own order.

    It is made of dicts, lists, numbers, booleans, None and text up to U+FFFF (above that,
    JSON's escapes are surrogate pairs, which are nothing in YAML).
    """
    return "\n".join(_mapping(document)) + "\n"


def _mapping(value: dict[str, Any]) -> Iterator[str]:
    for name, inner in value.items():
        yield from _hung(f"{_text(name)}:", inner)


def _sequence(value: list[Any]) -> Iterator[str]:
    for inner in value:
        if isinstance(inner, dict | list) and inner:
            first, *rest = _collection(inner)
            yield f"- {first}"
            yield from _indented(rest)
        else:
            yield from _hung("-", inner)


def _hung(head: str, value: object) -> Iterator[str]:
    """Yield a value after its key or dash: below it, or on its line if it is short."""
    if isinstance(value, dict | list) and value:
        yield head
        yield from _indented(_collection(value))
    elif isinstance(value, str) and "\n" in value and _LINES.fullmatch(value):
        yield f"{head} |-"
        yield from _indented(value.split("\n"))
    else:
        yield f"{head} {_text(value) if isinstance(value, str) else json.dumps(value)}"


def _collection(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    return _mapping(value) if isinstance(value, dict) else _sequence(value)


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (f"  {line}" if line else "" for line in lines)


def _text(text: str) -> str:
    is_word = _WORD.fullmatch(text) and text.lower() not in NOT_WORDS
    return text if is_word else json.dumps(text)
