"""JSON from a stranger: what two programs would read differently is refused.

A body is signed, compared or decided over. So the same bytes have to mean the same to whoever
reads them: no name twice in one object, no NaN, no number that some language cannot hold.
"""

import json
from typing import Any, Final

__all__ = ["TOO_DEEP", "NotTakenAsJson", "load", "too_large"]

TOO_DEEP: Final = "the body is nested too deeply"
MAX_WHOLE: Final = 2.0**64


class NotTakenAsJson(ValueError):
    """The text says why, and repeats nothing of the body.

    Attributes:
        may_be_mistaken: whether it is no JSON at all, so that one may look what else it is.
    """

    def __init__(self, detail: str, *, may_be_mistaken: bool = False) -> None:
        super().__init__(detail)
        self.may_be_mistaken = may_be_mistaken


def too_large(max_bytes: int) -> str:
    """Return what to say of a larger body."""
    return f"the body is larger than {max_bytes} bytes"


def load(body: bytes, max_bytes: int) -> Any:  # noqa: ANN401  # JSON, of any kind
    """Return the value that a body is.

    Raises:
        NotTakenAsJson: it is none, or may be read in two ways.
        RecursionError: it is nested too deeply (`TOO_DEEP`); its reading may be, too.
    """
    if len(body) > max_bytes:
        raise NotTakenAsJson(too_large(max_bytes))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotTakenAsJson("the body is not UTF-8", may_be_mistaken=True) from None
    try:
        return _DECODER.decode(text)
    except NotTakenAsJson:
        raise
    except ValueError:
        # Also an integer of more digits than Python converts (CVE-2020-10735).
        raise NotTakenAsJson("the body is not JSON", may_be_mistaken=True) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what two parsers would read differently (RFC 8259, section 4)."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotTakenAsJson("an object of the body has the same name twice")
    return result


def _no_constant(_name: str) -> None:
    raise NotTakenAsJson("the body has NaN or Infinity, which are not JSON")


def _number(text: str) -> int | float:
    """Take a whole number as one however it is written: JSON Schema makes no difference."""
    number = float(text)
    # Beyond what any field takes it stays short, since notes are measured.
    return int(number) if abs(number) <= MAX_WHOLE and number.is_integer() else number


# Made once: json.loads would make one for each body.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_number
)
