"""One call of the program: what its commands, and its errors, know of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kmworker.cli.frame.accounts import user_in

if TYPE_CHECKING:
    from kmworker.settings import Settings

__all__ = ["LEVEL_VARIABLE", "Invocation"]

LEVEL_VARIABLE: Final = "KMWORKER_LOG__LEVEL"


@dataclass(slots=True)
class Invocation:
    """One call of the program."""

    config: Path | None = None
    settings: "Settings | None" = None
    """Once they are loaded."""
    command: str = ""
    """Its words, without the program's name; known with the settings, as are its parameters."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_debugging(self) -> bool:
        """Return whether tracebacks are wanted."""
        if self.settings is not None:
            return self.settings.log.level == "debug"
        return os.environ.get(LEVEL_VARIABLE, "").lower() == "debug"

    @property
    def users(self) -> Mapping[str, str]:
        """Return as whom the store and the broker are asked, as far as URLs say it."""
        if self.settings is None:
            return {}
        brokers = self.settings.broker.addresses or ("",)
        return {"store": user_in(self.settings.store.url), "broker": user_in(brokers[0])}
