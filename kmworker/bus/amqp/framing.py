"""What frames look like (AMQP 0-9-1, sections 2.3.5 and 4.2), for those who read and write them.

A frame is its kind, its channel, the length of its payload, the payload and one last byte.
"""

from struct import Struct
from typing import Final

__all__ = ["BODY", "FRAME_END", "FRAME_HEAD", "FRAME_MIN_BYTES", "HEADER", "METHOD", "PLAIN"]

FRAME_HEAD: Final = Struct(">BHI")
FRAME_END: Final = 0xCE
FRAME_MIN_BYTES: Final = 4_096
"""No two that speak AMQP agree on smaller ones."""
METHOD, HEADER, BODY = 1, 2, 3

PLAIN: Final = {
    "content_type": 1 << 15, "delivery_mode": 1 << 12, "message_id": 1 << 7,
    "type": 1 << 5, "user_id": 1 << 4, "app_id": 1 << 3,
}  # fmt: skip
"""The properties that most messages have, in the order in which they are written, and their bits:
short strings, but for the delivery mode, which is one byte."""
