"""What is wrong with a field, in words for whoever wrote the producer.

A refusal says which field, and what it may be; never what was in it, but for one character
that has to be written otherwise and for an unknown field's name, which is cut and ASCII alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import ErrorDetails

from kmworker.wire import fields
from kmworker.wire.events.parts import TIME
from kmworker.wire.events.suggestions import suggestion

__all__ = ["in_words", "shown", "unknown_in"]

MAX_NAME_SHOWN: Final = 64
PROJECT_LETTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+~=-"
)
CHARACTERS: Final = {" ": "a space", '"': "a double quote", "\\": "a backslash"}
NOT_IN_ITEM_IDS: Final = frozenset(' "\\{}')
RFC_3339: Final = "not RFC 3339, as in 2026-11-23T16:00:00Z"


def unknown_in(errors: Sequence[ErrorDetails]) -> ErrorDetails | None:
    """Return the first error that is a field nobody knows.

    It comes before what is missing: who misspells a field that is needed has made one mistake.
    """
    return next((error for error in errors if error["type"] == "extra_forbidden"), None)


def in_words(error: ErrorDetails, event_type: str, prefix: str) -> str:
    """Return one sentence that begins with the field's path.

    Args:
        error: pydantic's, with context and input.
        event_type: the event's, a known one where `prefix` is `data.`.
        prefix: what the error's own place is relative to, with a dot at its end.
    """
    path = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        *within, name = path
        meant = suggestion(event_type, ".".join(within), name)
        return f"{prefix}{''.join(f'{part}.' for part in within)}{shown(name)} is unknown{meant}"
    # Half a surrogate pair in an unknown field's name is reported of the object it is in.
    where = f"{prefix}{'.'.join(path)}".rstrip(".")
    return f"{where}: {_wrong(error)}"


def shown(name: str) -> str:
    """Return a stranger's name as it can stand in a header, a log or a terminal."""
    cut = name[:MAX_NAME_SHOWN]
    # ASCII alone: nothing that looks like something else, nothing that turns the line around.
    safe = "".join(letter if " " <= letter <= "~" else "?" for letter in cut)
    return (safe or '""') + ("..." if len(name) > len(cut) else "")


def _wrong(error: ErrorDetails) -> str:
    value, kind = error["input"], error["type"]
    if kind == "missing":
        return "missing"
    if value is None:
        return "null, which counts as missing"
    worded = WORDS.get(kind)
    return _mistyped(value, "something else") if worded is None else worded(value, _context(error))


def _context(error: ErrorDetails) -> Mapping[str, Any]:
    return error.get("ctx", {})


def _mistyped(value: object, expected: str) -> str:
    return f"{_shape(value)}, where {expected} is needed"


def _shape(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"


def _no_text(value: object, _context: Mapping[str, Any]) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _mistyped(value, "text") + ("; write it in quotes" if is_number else "")


def _no_number(value: object, _context: Mapping[str, Any]) -> str:
    if isinstance(value, float):
        return "too large or too small" if value.is_integer() else "not a whole number"
    is_quoted = isinstance(value, str) and value.isascii() and value.isdigit()
    return _mistyped(value, "a number") + ("; write it without quotes" if is_quoted else "")


def _no_object(value: object, _context: Mapping[str, Any]) -> str:
    return _mistyped(value, "an object")


def _no_member(value: object, context: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        return _no_text(value, context)
    expected: str = context["expected"]
    members = expected.replace("'", "")
    if " or " not in members:
        return f'not "{members}"'
    hint = "; announce a backup as a replica" if value.lower() == "backup" else ""
    return f"none of {members.replace(' or ', ', ')}{hint}"


def _mismatch(value: str, context: Mapping[str, Any]) -> str:
    # A pattern that nobody has words for is no reason to fail over what a stranger sent.
    worded = MISMATCHES.get(context["pattern"])
    return "not as it has to be written" if worded is None else worded(value)


def _item_id(text: str) -> str:
    wrong = next((c for c in text if c in NOT_IN_ITEM_IDS or not "!" <= c <= "~"), None)
    if wrong is None:
        return _length(text, fields.MAX_ID)
    return (
        'ids of items are printable ASCII without space, ", \\, { and }; percent-encode '
        f"{_called(wrong)} as {_encoded(wrong, '%')}, as in tank/My%20Data"
    )


def _project_id(text: str) -> str:
    wrong = next((c for c in text if c not in PROJECT_LETTERS), None)
    if wrong is None:
        return _length(text, fields.MAX_PROJECT_ID)
    # The alphabet has no percent sign, but the one of quoted-printable (RFC 2045, section 6.7).
    return (
        "projects are A-Z a-z 0-9 . _ : @ + ~ = -; use the project's id, or encode "
        f"{_called(wrong)} as {_encoded(wrong, '=')}, as in My=20Project"
    )


def _encoded(letter: str, sign: str) -> str:
    return "".join(f"{sign}{byte:02X}" for byte in letter.encode())


def _called(letter: str) -> str:
    if letter in CHARACTERS:
        return CHARACTERS[letter]
    return letter if "!" <= letter <= "~" else f"U+{ord(letter):04X}"


def _length(text: str, most: int) -> str:
    return f"longer than {most} characters" if text else "empty"


def _printable(text: str) -> str:
    if not 0 < len(text) <= fields.MAX_ID:
        return _length(text, fields.MAX_ID)
    return "has a control character or a line separator"


def _event_id(text: str) -> str:
    if not 0 < len(text) <= fields.MAX_ID:
        return _length(text, fields.MAX_ID)
    return "has a character that is not printable ASCII"


def _cipher(text: str) -> str:
    if not 0 < len(text) <= fields.MAX_CIPHER:
        return _length(text, fields.MAX_CIPHER)
    return "has a character that is no cipher's: as dm-crypt writes it, e.g. aes-xts-plain64"


def _client_name(text: str) -> str:
    if not 0 < len(text) <= fields.MAX_CLIENT_NAME:
        return _length(text, fields.MAX_CLIENT_NAME)
    return "clients' names are A-Z a-z 0-9 . _ : @ + ~ = -"


def _queue_name(text: str) -> str:
    if not 0 < len(text) <= fields.MAX_ID:
        return _length(text, fields.MAX_ID)
    return "has a space, or a character that is not printable ASCII"


def _time(text: str) -> str:
    if text[10:11] == " ":
        return f"{RFC_3339}: a T stands between date and time"
    end = text[19:].lstrip(".0123456789")
    if len(text) >= len("2026-11-23T16:00:00") and not end:
        return f"{RFC_3339}: the time zone is missing, Z or like +01:00"
    if end[:1] in {"+", "-"} and ":" not in end:
        return f"{RFC_3339}: an offset has a colon, like +01:00"
    return RFC_3339


MISMATCHES: Final[Mapping[str, Callable[[str], str]]] = {
    fields.ITEM_ID: _item_id,
    fields.PROJECT_ID: _project_id,
    fields.PRINTABLE: _printable,
    fields.EVENT_ID: _event_id,
    fields.CIPHER: _cipher,
    fields.CLIENT_NAME: _client_name,
    fields.QUEUE_NAME: _queue_name,
    fields.SHA_256: lambda _text: "not a SHA-256 as 64 lower-case hexadecimal digits",
    fields.BASE64: lambda _text: "not base64 (RFC 4648, section 4)",
    fields.LISTED_ID: lambda _text: "not the 16 lower-case hexadecimal digits of a key's id",
    fields.UUID: lambda _text: "not a UUID in lower case with dashes",
    fields.UTC_TIME: lambda _text: "not RFC 3339 in UTC, as in 2026-11-23T16:00:00.000Z",
    TIME: _time,
}
WORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "string_type": _no_text,
    "string_pattern_mismatch": _mismatch,
    "string_too_short": lambda _value, _context: "empty",
    "string_too_long": lambda _value, context: f"longer than {context['max_length']} characters",
    "string_unicode": lambda _value, _context: "has half a surrogate pair",
    "list_type": lambda value, _context: _mistyped(value, "an array"),
    "too_long": lambda _value, context: f"more than {context['max_length']} entries",
    "int_type": _no_number,
    "greater_than_equal": lambda _value, context: f"less than {context['ge']}",
    "less_than_equal": lambda _value, context: f"more than {context['le']}",
    "literal_error": _no_member,
    "model_type": _no_object,
    "dict_type": _no_object,
    "value_error": lambda _value, _context: "no real date or time",
}
