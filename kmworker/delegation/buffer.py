"""A key in the clear, as briefly as Python allows.

What can be overwritten is: the one buffer that a key is used from. What cannot: the copy that
HPKE returned (`bytes`, freed and not overwritten), and whatever the caller makes of the view.
"""

import contextlib
from types import TracebackType
from typing import Self

from kmworker.secrecy import Secret

__all__ = ["KeyBuffer"]


class KeyBuffer(Secret):
    """Holds one key until it is wiped: at the end of its `with`, by `wipe`, or when it is dropped.

    ::

        with delivered.key as key:
            os.write(descriptor, key.view)
    """

    __slots__ = ("_content", "_view")

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = bytearray(content)
        # While there is a view, the bytes can be neither moved nor resized, which would leave a
        # copy behind.
        self._view: memoryview | None = memoryview(self._content)

    @property
    def view(self) -> memoryview:
        """Return the key, read-only.

        Raises:
            ValueError: it is wiped.
        """
        if self._view is None:
            raise ValueError("the key is wiped")
        return self._view.toreadonly()

    @property
    def is_wiped(self) -> bool:
        """Return whether there is a key no more."""
        return self._view is None

    def wipe(self) -> None:
        """Overwrite the key; views of it that somebody still has show zeros."""
        if self._view is not None:
            self._view[:] = bytes(len(self._view))
            self._view = None

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"<a key of {len(self)} bytes{', wiped' if self.is_wiped else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wipe()

    def __del__(self) -> None:
        # One whose making failed has no view.
        with contextlib.suppress(AttributeError):
            self.wipe()
