"""What may stand in a field of a message, in or out: its pattern, and how long it may be."""

from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic_core import core_schema

from kmworker.clock import unix_s

__all__ = [
    "BASE64", "CIPHER", "CLIENT_NAME", "EVENT_ID", "ITEM_ID", "LISTED_ID", "MAX_CIPHER",
    "MAX_CLIENT_NAME", "MAX_ID", "MAX_KEY_BITS", "MAX_PROJECT_ID", "PRINTABLE", "PROJECT_ID",
    "QUEUE_NAME", "SHA_256", "UTC_TIME", "UUID", "Base64", "Cipher", "ClientName", "ItemId",
    "ListedId", "Moment", "OneOf", "Printable", "ProjectId", "QueueName", "Sha256", "ShortText",
    "UtcTime", "Uuid",
]  # fmt: skip

MAX_KEY_BITS: Final = 65_536
MAX_ID: Final = 255
MAX_PROJECT_ID: Final = 128
MAX_CIPHER: Final = 128
MAX_CLIENT_NAME: Final = 128
MAX_BASE64: Final = 65_538

# Printable ASCII without space and " \ { }. The scripts rely on each: a space ends an item ref
# in an index, quotes and backslashes would be escaped in a record, braces enclose a hash tag.
ITEM_ID: Final = r"^[!#-\x5b\x5d-z|~]{1,255}$"
# No slash: it ends the project in a scope's name. Nothing that is a wildcard anywhere.
PROJECT_ID: Final = r"^[A-Za-z0-9._:@+~=-]{1,128}$"
# No control characters or line separators: these names end up in logs and terminals.
PRINTABLE: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,255}$"
CIPHER: Final = r"^[!-~]{1,128}$"
EVENT_ID: Final = r"^[ -~]{1,255}$"

# The same letters as a project's: it is a user of the broker, and part of a queue's name. Written
# otherwise, because what is said of a mismatch is found by the pattern.
CLIENT_NAME: Final = r"^[0-9A-Za-z._:@+~=-]{1,128}$"
QUEUE_NAME: Final = r"^[!-~]{1,255}$"
LISTED_ID: Final = r"^[0-9a-f]{16}$"
SHA_256: Final = r"^[0-9a-f]{64}$"
# How many letters at most stands beside it: counted by the pattern, it takes twenty times as long.
BASE64: Final = r"^[A-Za-z0-9+/]+[=]{0,2}$"
UUID: Final = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
UTC_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$"

ItemId = Annotated[str, Field(pattern=ITEM_ID)]
ProjectId = Annotated[str, Field(pattern=PROJECT_ID)]
Printable = Annotated[str, Field(pattern=PRINTABLE)]
Cipher = Annotated[str, Field(pattern=CIPHER)]
ShortText = Annotated[str, Field(min_length=1, max_length=255)]
Uuid = Annotated[str, Field(pattern=UUID)]
ClientName = Annotated[str, Field(pattern=CLIENT_NAME)]
QueueName = Annotated[str, Field(pattern=QUEUE_NAME)]
ListedId = Annotated[str, Field(pattern=LISTED_ID)]
Sha256 = Annotated[str, Field(pattern=SHA_256)]
Base64 = Annotated[str, Field(pattern=BASE64, max_length=MAX_BASE64)]
# What we write ourselves, always UTC; to how many digits is no promise.
UtcTime = Annotated[str, Field(pattern=UTC_TIME)]


def _real(text: str) -> str:
    """Refuse the 30th of February, and second 60: programs in many languages cannot read that."""
    if text[17:19] == "60":
        raise ValueError("a leap second")
    unix_s(text)
    return text


# What is reckoned with, by whoever reads it.
Moment = Annotated[str, Field(pattern=UTC_TIME, max_length=40), AfterValidator(_real)]


class OneOf:
    """Marks text that is one of a few words: to a type checker it is any text.

    Enumerations are written by their values, because members take thrice as long to become JSON.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = [str(word) for word in words]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Any:  # noqa: ANN401
        """Let pydantic accept these words and describe them in schemas."""
        del source, handler
        return core_schema.literal_schema(self._words)
