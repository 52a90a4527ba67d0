"""``kmworker key export``: a DEK, into a file."""

from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.arguments.operators import (
    OperatorOption,
    WhyOption,
    act_of,
    refuse_unsayable,
)
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import custody_in
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.recording import record_first
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import line, plural
from kmworker.crypto.export import export_dek
from kmworker.domain.audit import Act
from kmworker.errors import SetupError
from kmworker.store.export import read_wrapped

__all__ = ["EXAMPLES", "export"]

EXAMPLES = examples(
    "kmworker key export 5f0e1c9a-0000-4000-8000-000000000000 \\",
    "    --project p1 --output dek.bin",
)


def export(  # noqa: PLR0913  # its options
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY-ID", help="Whose DEK to export.")],
    *,
    project: Annotated[str, typer.Option("--project", metavar="P", help="The key-id's project.")],
    output: Annotated[
        str,
        typer.Option("--output", metavar="FILE", help="A new file; standard output is refused."),
    ],
    reason: WhyOption = None,
    operator: OperatorOption = None,
) -> None:
    """Write a DEK's bytes to a new file of mode 0600.

    The key-id's records are authenticated first, and it is in the audit trail before the file is
    written: what cannot be recorded is not exported. The file must not be there yet. Whoever reads
    it can decrypt every item of the key scope: delete it as soon as it is used.
    """
    refuse_unsayable(operator, reason)
    path = Path(output)
    # Before anything is unwrapped; what makes the file looks again, without a gap.
    if output == "-" or path.exists() or path.is_symlink():
        problem = "a DEK is not written to standard output" if output == "-" else "already exists"
        raise SetupError(f"--output {output}: {problem}", "name a file that is not there yet")
    settings = settings_of(context)
    views = views_of(settings)
    custody = custody_in(settings, views)
    wrapped = read_wrapped(views, custody, project, key_id)
    record_first(settings, act_of(
        Act.KEY_EXPORTED, operator=operator, reason=reason, project=project, key_id=key_id
    ))  # fmt: skip
    size_bytes = export_dek(custody, project, wrapped.scope, wrapped.blob, path)
    line(f"wrote {plural(size_bytes, 'byte')} of key-id {key_id} to {path}")
