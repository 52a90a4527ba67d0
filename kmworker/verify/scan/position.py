"""How far a check has come, as a word that it can be continued from."""

from typing import NamedTuple

__all__ = ["Position"]

PARTS = 4


class Position(NamedTuple):
    """Everything before it has been checked."""

    project: str
    stage: str
    cursor: int
    run_id: str
    """Of the server's process: another one orders its fields differently."""

    @property
    def token(self) -> str:
        """As a word; no project's name holds a comma."""
        return f"{self.project},{self.stage},{self.cursor},{self.run_id}"

    @classmethod
    def of(cls, token: str) -> "Position | None":
        """Read a token; None if it is none."""
        parts = token.split(",")
        if len(parts) != PARTS or not parts[0] or not (parts[2].isdigit() and parts[2].isascii()):
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])
