"""What commands go by: the settings, or the `kmworker up` of this user."""

import os
from pathlib import Path
from typing import Any

import typer

from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.terminal.logs import configure_logs
from kmworker.cli.terminal.output import note
from kmworker.settings import (
    FILE_VARIABLE,
    SEARCHED,
    Settings,
    load_settings,
    working_folder,
)
from kmworker.settings.instance import paths_in, running_instance

__all__ = ["settings_of"]


def settings_of(context: typer.Context, *, wants_instance: bool = True) -> Settings:
    """Load the settings, and have libraries say on standard error what they have to say.

    Args:
        context: of the command.
        wants_instance: use this user's `kmworker up` where no server is configured.

    Raises:
        SetupError: they are not as they should be.
    """
    invocation = context.find_object(Invocation) or Invocation()
    invocation.command = _words_of(context)
    invocation.parameters = context.params
    settings = load_settings(invocation.config)
    invocation.settings = settings
    if invocation.config is None and FILE_VARIABLE not in os.environ:
        _tell_found(settings)
    level = settings.log.level
    configure_logs("debug" if level == "debug" else "warning", settings.log.format)
    # What is configured wins, be it only one of the two.
    if wants_instance and not settings.broker.addresses and settings.store.url is None:
        return _of_instance(settings)
    return settings


def _words_of(context: typer.Context) -> str:
    """Return what was called, without the program: that is named as it was started."""
    words: list[str] = []
    it: Any = context
    while it.parent is not None:
        words.insert(0, it.info_name)
        it = it.parent
    return " ".join(words)


def _tell_found(settings: Settings) -> None:
    """Name the file that depends on where a command is called: nobody else has named it."""
    found = working_folder() / SEARCHED[0]
    if settings.config_path == found:
        note(f"settings from {found}")
    elif os.path.exists(found):  # noqa: PTH110  # where nothing may be seen, nothing is there
        note(f"not used: {found}: it, or its folder, may be written by others")


def _of_instance(settings: Settings) -> Settings:
    instance = running_instance(os.environ)
    if instance is None:
        return settings
    note(f"no broker or store is configured: using kmworker up in {instance.data_dir}")
    updates: dict[str, dict[str, object]] = {
        "broker": {"url": instance.url},
        "store": {"url": instance.url},
        "keyring": {"path": Path(instance.keyring), "root": "file:", "archive": None},
    }
    # It has a key server that takes records.
    updates["audit"] = {"records": True}
    for (section, name), path in paths_in(Path(instance.data_dir)).items():
        updates.setdefault(section, {})[name] = path
    return settings.model_copy(
        update={
            section: getattr(settings, section).model_copy(update=ours)
            for section, ours in updates.items()
        }
    )
