"""Transcripts: what is typed, what is seen, and playing them again.

    == on a terminal, broker gone
    $ kmworker watch
    kmworker: amqp://guest:***@127.0.0.1:1/: …
    [exit 3]

``== `` opens a scene: ``on a terminal`` of 80 columns or ``on a pipe`` (``2> `` marks what
came on standard error), and under which circumstances, see `Stage.site`. ``$ `` is typed;
a variable may stand before the program. Styles (bold, colours) are shown where the scene says
``styled``. While a command runs, ``^C`` is pressed and
``& kmworker …`` run elsewhere when the lines above have been seen.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.integration.cli.masks import Masks
from tests.integration.cli.stage import Stage
from tests.integration.cli.terminal import STYLE, Pipes, Screen, Terminal, wrapped
from tests.kit.outside.worker import Site, program, unmeasured
from tests.kit.polling import until

SCENE, TYPED, ELSEWHERE, INTERRUPT = "== ", "$ ", "& ", "^C"
COLOUR: Final = re.compile(r"\x1b\[(?:\d+;)*[349]\d")
PLACES: Final = {"on a terminal", "on a pipe"}
CIRCUMSTANCES: Final = {
    "filled", "own", "fresh", "declared", "nothing configured", "broker gone", "store gone",
    "styled",
}  # fmt: skip


@dataclass(slots=True)
class Act:
    """Something done while a command runs."""

    after: int
    """How many lines of the command's own have been seen by then."""
    line: str


@dataclass(slots=True)
class Command:
    """One command of a scene."""

    typed: str
    acts: list[Act] = field(default_factory=list)
    lines: int = 0
    """Of its output, as recorded."""


@dataclass(slots=True)
class Scene:
    """Commands in one place."""

    title: str
    commands: list[Command] = field(default_factory=list)

    @property
    def wanted(self) -> set[str]:
        return set(self.title.split(", "))


def scenes_of(text: str) -> list[Scene]:
    """Read a transcript."""
    scenes: list[Scene] = []
    for line in text.splitlines():
        if line.startswith(SCENE):
            scenes.append(Scene(line.removeprefix(SCENE)))
            wanted = scenes[-1].wanted
            assert len(wanted & PLACES) == 1, f"say where: {line}"
            assert wanted <= PLACES | CIRCUMSTANCES, f"unknown circumstances: {line}"
        elif line.startswith(TYPED):
            scenes[-1].commands.append(Command(line.removeprefix(TYPED)))
        elif line.startswith((ELSEWHERE, INTERRUPT)):
            command = scenes[-1].commands[-1]
            command.acts.append(Act(command.lines, line))
        elif scenes and scenes[-1].commands:
            scenes[-1].commands[-1].lines += 1
    return scenes


def played(text: str, stage: Stage) -> str:
    """Do again what a transcript shows and return it as it is seen now."""
    masks = Masks()
    stage.next_transcript()
    told = []
    for scene in scenes_of(text):
        site = stage.site(scene.wanted - PLACES)
        lines = [f"{SCENE}{scene.title}"]
        for command in scene.commands:
            lines += [f"{TYPED}{command.typed}", *_run(command, scene, site, masks)]
        told.append("\n".join(lines) + "\n")
    return "\n".join(told)


def _run(command: Command, scene: Scene, site: Site, masks: Masks) -> list[str]:
    def seen(screen: Screen) -> str:
        masked = masks.masked(screen.seen(), site)
        if isinstance(screen, Pipes):
            return masked
        return _as_shown(masked, styled="styled" in scene.wanted)

    beside = []
    with _started(masks.unmasked(command.typed), scene, site) as screen:
        for act in command.acts:
            until(partial(_has, seen, screen, act.after), f"the lines before {act.line}")
            if act.line.startswith(ELSEWHERE):
                _run_elsewhere(masks.unmasked(act.line.removeprefix(ELSEWHERE)), scene, site)
            else:
                screen.interrupt()
            if not (screen.echoes and act.line.startswith(INTERRUPT)):
                beside.append(act)
        code = screen.ended()
        # https://no-color.org: bold is no colour.
        assert "NO_COLOR=1" not in command.typed or not COLOUR.search(screen.seen())
        lines = seen(screen).rstrip("\n").split("\n")
    lines = [] if lines == [""] else lines
    for act in reversed(beside):
        lines.insert(act.after, act.line)
    return [*lines, f"[exit {code}]"] if code else lines


def _has(seen: Callable[[Screen], str], screen: Screen, lines: int) -> bool:
    return seen(screen).count("\n") >= lines


def _started(typed: str, scene: Scene, site: Site) -> Screen:
    place = Terminal if "on a terminal" in scene.wanted else Pipes
    return place(*_command(typed, scene, site), site.folder)


def _run_elsewhere(typed: str, scene: Scene, site: Site) -> None:
    command, environ = _command(typed, scene, site)
    with Pipes(command, environ, site.folder) as screen:
        assert screen.ended() == 0, screen.seen()


def _command(typed: str, scene: Scene, site: Site) -> tuple[list[str], dict[str, str]]:
    """Return what to start, and its environment."""
    settings, arguments = _words(typed)
    environ = unmeasured(site.environment(*arguments))
    if "nothing configured" in scene.wanted:
        environ = {name: it for name, it in environ.items() if not name.startswith("KMWORKER_")}
    return [*program(), *arguments], {**environ, **settings}


def _words(typed: str) -> tuple[dict[str, str], list[str]]:
    """Take a command line apart into variables and arguments."""
    words = shlex.split(typed)
    start = words.index("kmworker")
    return dict(word.split("=", 1) for word in words[:start]), words[start + 1 :]


def _as_shown(text: str, *, styled: bool) -> str:
    """Break lines as the terminal does; escape sequences are written out."""
    shown = wrapped(text if styled else STYLE.sub("", text))
    lines = (line.rstrip() for line in shown.split("\n"))
    return re.sub(r"\x1b", r"\\e", "\n".join(lines))
