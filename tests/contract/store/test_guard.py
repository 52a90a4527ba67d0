"""What scripts ask before they write is asked as every release of Redis wants it asked."""

import re
from importlib import resources
from typing import Any

from kmworker.store.scripts import WRITING
from tests.kit.store.stand import Stand

FOLDER = resources.files("kmworker.store").joinpath("lua")


def asked_about() -> set[str]:
    """Return the commands that scripts ask the guard about."""
    scripts = [FOLDER.joinpath(f"{name}.lua").read_text() for name in WRITING]
    asked = "".join(text.partition("refusal(")[2].partition("})\n")[0] for text in scripts)
    return set(re.findall(r"\b([A-Z]+) = \{", asked))


def samples() -> dict[str, int]:
    """Return with how many arguments the guard asks about a command."""
    text = (
        FOLDER.joinpath("guard.lua").read_text().partition("SAMPLES = {")[2].partition("}\n\n")[0]
    )
    found = re.findall(r"([A-Z]+) = \{(.*?)\}", text)
    return {command: len(arguments.split(",")) for command, arguments in found}


def test_each_command_is_asked_about_with_enough_arguments(own: Stand) -> None:
    # Redis 8.0.2 of Debian 13 refuses a question that has too few.
    raw: Any = own.raw
    found = raw.execute_command("COMMAND INFO", *(name.lower() for name in asked_about()))
    given = samples()
    for name, arity, *_more in found:
        assert given.get(name.decode().upper(), 0) >= abs(arity) - 2, name
    assert asked_about() >= {"HSET", "ZADD", "INCR"}
    assert given.keys() <= asked_about()
