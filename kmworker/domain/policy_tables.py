"""What the tables of a policy file are made of: known names, and columns of globs."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["ANY", "Globs", "Table", "matches_any"]


class Table(BaseModel):
    """A table that has the names below and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _as_list(value: object) -> object:
    """Let a column with one glob do without brackets."""
    return [value] if isinstance(value, str) else value


Glob = Annotated[str, Field(pattern=r"^[^\[\]]*$")]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(_as_list), Field(min_length=1)]
ANY: Final[tuple[str, ...]] = ("*",)


def matches_any(globs: Iterable[str], value: str) -> bool:
    """Return whether one of the globs matches."""
    return any(fnmatchcase(value, glob) for glob in globs)
