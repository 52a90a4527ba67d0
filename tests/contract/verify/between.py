"""Whatever happens between the reads of an audit."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kmworker.store.reading import StoreReader

__all__ = ["READS", "before_each"]

READS = ("scan", "fetch", "again", "lengths", "types", "sizes")


def before_each(
    monkeypatch: pytest.MonkeyPatch, methods: Sequence[str], act: Callable[[int], None]
) -> None:
    """Do something before each of these reads, with its number."""
    calls = iter(range(1_000_000))

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            act(next(calls))
            return original(*arguments, **named)

        return wrapped

    for method in methods:
        monkeypatch.setattr(StoreReader, method, wrap(getattr(StoreReader, method)))
