"""A site's commands while they run."""

from uuid import uuid4

from tests.integration.cli.terminal import Pipes, Terminal
from tests.kit.outside.worker import Site, program


def started(site: Site, *arguments: str) -> Pipes:
    """Start a command whose output goes to files; as a context, it ends whatever happens."""
    return Pipes([*program(), *arguments], site.environment(*arguments), site.folder)


def on_a_terminal(site: Site, *arguments: str) -> str:
    """Run a command whose output is a terminal, and return all that it writes there."""
    command = [*program(), *arguments]
    with Terminal(command, site.environment(*arguments), site.folder) as terminal:
        assert terminal.ended() == 0, terminal.seen()
        return terminal.seen()


def beside_a_terminal(site: Site, *arguments: str) -> tuple[int, str, str]:
    """Run a command of which only stderr is a terminal.

    Returns its exit code, its output, and what it writes to the terminal.
    """
    path, command = site.folder / f"{uuid4().hex}.out", [*program(), *arguments]
    with (
        path.open("wb") as out,
        Terminal(command, site.environment(*arguments), site.folder, out) as terminal,
    ):
        return terminal.ended(), path.read_text(), terminal.seen()
