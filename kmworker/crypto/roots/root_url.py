"""URLs of roots: a scheme, where the key is, and options that name files, never secrets.

A secret in a URL would be in the configuration, in the environment and in the list of
processes. So an option that cannot be meant is refused by its name, and no message shows a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from kmworker.errors import SetupError

__all__ = ["RootUrl", "parse_root_url"]

MAX_CHARACTERS: Final = 4096
HINT: Final = "see docs/roots.md for what a root's URL looks like"


@dataclass(frozen=True, slots=True)
class RootUrl:
    """A URL that was taken apart.

    Attributes:
        scheme: lower-case, without the colon.
        place: what is between the scheme and the options, as it was written.
        options: by name, decoded.
    """

    scheme: str
    place: str
    options: Mapping[str, str] = field(repr=False)

    def check_options(self, *known: str) -> None:
        """Refuse options that the root does not know.

        Raises:
            SetupError: there is one; its name is said.
        """
        for name in self.options:
            if name not in known:
                raise SetupError(f"keyring.root: {self.scheme}: has no option {name!r}", HINT)

    def needed(self, name: str) -> str:
        """Return an option's value.

        Raises:
            SetupError: it is not there, or empty.
        """
        value = self.options.get(name, "")
        if not value:
            raise SetupError(f"keyring.root: {self.scheme}: needs the option {name}", HINT)
        return value

    def file(self, name: str) -> Path:
        """Return the file that an option names, by its absolute path or by ``file:`` and that.

        Raises:
            SetupError: the option is not there, or no absolute path: what it names must not depend
                on where a command is called.
        """
        path = Path(self.needed(name).removeprefix("file:"))
        if not path.is_absolute():
            raise SetupError(f"keyring.root: {name} must be an absolute path", HINT)
        return path


def parse_root_url(text: str) -> RootUrl:
    """Take a root's URL apart.

    Raises:
        SetupError: it has no scheme, is too long, or has an option twice or without a value.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme.isascii() or len(text) > MAX_CHARACTERS or not text.isprintable():
        raise SetupError("keyring.root: must begin with a scheme, such as file:", HINT)
    place, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        raw_name, equals, value = pair.partition("=")
        name = unquote(raw_name)
        if not equals or name in options:
            raise SetupError("keyring.root: each option is name=value, once", HINT)
        options[name] = unquote(value)
    return RootUrl(scheme.lower(), place, options)
