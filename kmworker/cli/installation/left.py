"""What commands that go over a whole store have in common: what they leave as it is, and an end."""

from collections.abc import Iterator
from contextlib import contextmanager

from kmworker.cli.terminal.output import line, note, one_json
from kmworker.errors import StoreUnavailable
from kmworker.store.reading import Flaw

__all__ = ["resumable", "tell_flaw"]


def tell_flaw(flaw: Flaw, *, as_json: bool) -> None:
    """Print a record that is left as it is."""
    project, key, field = flaw.place
    if as_json:
        document = {"project": project, "key": key, "field": field, "says": flaw.says}
        line(one_json(document))
    else:
        line(f"left as it is  {project} {key} {field}: {flaw.says}")


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on, if it is stopped or the store goes away."""
    try:
        yield
    except (KeyboardInterrupt, StoreUnavailable):
        note("stopped: run it again to go on")
        raise
