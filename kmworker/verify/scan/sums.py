"""What is added up over all projects."""

from collections.abc import Iterable

from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.inspection import pages
from kmworker.store.reading import StoreReader
from kmworker.verify.rules.counters import RELEASED

__all__ = ["released_in"]


def released_in(reader: StoreReader, projects: Iterable[str]) -> int | None:
    """Return how many items have ever been released; None if a number of them is none."""
    total = 0
    for page in pages(projects):
        pipeline = reader.client.pipeline(transaction=False)
        for project in page:
            pipeline.hget(reader.names.of(project, "stats"), RELEASED)
        with store_errors():
            numbers = [number_in(found) for found in pipeline.execute()]
        if None in numbers:
            return None
        total += sum(number or 0 for number in numbers)
    return total
