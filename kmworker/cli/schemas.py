"""``kmworker schemas``: what messages look like, for programs of others."""

from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import line, note
from kmworker.errors import SetupError
from kmworker.wire.schemas import texts, write_schemas

__all__ = ["app"]

app = group()


@app.command(
    epilog=examples("kmworker schemas", "kmworker schemas --output schemas/"),
)
def schemas(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write the files there.")
    ] = None,
) -> None:
    """Print or write the JSON Schemas and the AsyncAPI document.

    Without --output all files are printed, each after a line with its name.
    """
    if output is not None:
        try:
            written = write_schemas(output)
        except OSError as error:
            raise SetupError(
                f"cannot write {error.filename or output}: {error.strerror}",
                hint="name a folder that you may write to",
            ) from None
        for path in written:
            note(f"wrote {path}")
        return
    for name, text in texts().items():
        line(f"# {name}")
        for row in text.splitlines():
            line(row)
