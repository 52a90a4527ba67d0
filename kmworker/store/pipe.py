"""Commands that are sent now, and whose replies are waited for later.

The client library sends a pipeline and waits for its replies in one call. A worker has other
work to do in the meantime. The server takes commands from one connection in their order, so
what is asked behind a write sees what was written.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from redis import ConnectionPool
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError, ResponseError

from kmworker.ports import Pending

__all__ = ["Command", "Pipe", "Replies", "Then"]

T = TypeVar("T")

Command = tuple[Any, ...]
"""A command's name and its arguments."""

LOST: Final = "the connection was lost before the reply had come"


class Replies:
    """What the server says to commands that were sent together: a `Pending`, taken at any time."""

    def __init__(self, pipe: "Pipe", number: int) -> None:
        self.number = number
        self.is_lost = False
        self._pipe = pipe
        self._found: list[Any] | None = None

    def done(self) -> bool:
        """Return whether they have come, or will not come any more."""
        # Whoever waits for the result is told.
        with suppress(RedisError):
            while self._found is None and not self.is_lost and self._pipe.has_more():
                self._pipe.take_in()
        return self._found is not None or self.is_lost

    def result(self) -> list[Any]:
        """Wait for them.

        Returns:
            For each command its reply, which may be an error.

        Raises:
            RedisError: the connection was lost, and what became of the commands is unknown.
        """
        while self._found is None and not self.is_lost:
            self._pipe.take_in()
        if self._found is None:
            raise ConnectionLost(LOST)
        return self._found

    def came(self, found: list[Any]) -> None:
        """Keep them until they are asked for."""
        self._found = found


class Then(Generic[T]):
    """A `Pending` for what is made of another's answer, once that has come."""

    def __init__(self, first: Pending[object], make: Callable[[], T]) -> None:
        self.done = first.done
        self.result = make


class Pipe:
    """Sends commands on one connection, which it keeps until somebody else wants it."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None
        self._awaited: deque[Replies] = deque()

    def send(self, commands: Sequence[Command]) -> Replies:
        """Send all of them in one piece, and wait for nothing.

        Raises:
            RedisError: some may have been sent; the connection is gone.
        """
        replies = Replies(self, len(commands))
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            pack = self._connection.pack_command
            packed = b"".join(part for command in commands for part in pack(*command))
            # A health check would take what comes next for the answer to its PING.
            self._connection.send_packed_command([packed], check_health=not self._awaited)
        except BaseException:
            # Ctrl-C, too: how much was sent, and so which replies are to come, is unknown.
            self._lose()
            raise
        self._awaited.append(replies)
        return replies

    def has_more(self) -> bool:
        """Return whether the server has begun to send what comes next; raises as `send` does."""
        try:
            return bool(self._connection.can_read(timeout=0))
        except BaseException:
            # Ctrl-C, too: how much of a reply was taken in is unknown.
            self._lose()
            raise

    def take_in(self) -> None:
        """Wait for the replies that come next; raises as `Replies.result` does."""
        replies = self._awaited[0]
        try:
            replies.came([self._read() for _ in range(replies.number)])
        except BaseException:
            # What is still to come must not be taken for the replies to something else.
            self._lose()
            raise
        self._awaited.popleft()

    def rest(self) -> None:
        """Take in all that is to come, and let go of the connection."""
        while self._awaited:
            self.take_in()
        self._release()

    def drop(self) -> None:
        """Give up the connection, and whatever was to come on it."""
        self._lose()

    def _read(self) -> Any:  # noqa: ANN401  # whatever the server says
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def _lose(self) -> None:
        for replies in self._awaited:
            replies.is_lost = True
        self._awaited.clear()
        if self._connection is not None:
            self._connection.disconnect()
        self._release()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)
