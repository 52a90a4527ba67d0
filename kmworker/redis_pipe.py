"""Commands that are sent now, and whose replies are waited for later.

The client library sends a pipeline and waits for its replies in one call. A worker has other
work to do in the meantime. The server takes commands from one connection in their order, so
what is asked behind a write sees what was written.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis import ConnectionPool
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

__all__ = ["Command", "Pipe", "Replies"]

Command = tuple[Any, ...]
"""A command's name and its arguments."""

LOST: Final = "the connection was lost before the reply had come"


class Replies:
    """What the server says to commands that were sent together."""

    def __init__(self, pipe: "Pipe", number: int) -> None:
        self.number = number
        self.is_lost = False
        self._pipe = pipe
        self._found: list[Any] | None = None

    def __call__(self) -> list[Any]:
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

    def take_in(self) -> None:
        """Wait for the replies that come next; raises as calling them does."""
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
