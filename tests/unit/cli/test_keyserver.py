"""``kmworker keyserver``: how its process runs; what it answers is tested elsewhere."""

import gc
import signal
from collections.abc import Iterator

import pytest

from tests.kit.cli.stand import run, said


class FakeKeyServer:
    """A key server that has nothing to do."""

    def stop(self) -> None:
        """Nothing runs."""

    def run(self) -> None:
        """Nothing is asked."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {it: signal.getsignal(it) for it in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_is_there_at_the_start_is_not_looked_through_for_garbage_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmworker.cli.keyserver.build_key_server", lambda _s: FakeKeyServer())
    monkeypatch.setattr("kmworker.cli.keyserver.harden_process", lambda: None)
    threshold = gc.get_threshold()
    gc.unfreeze()
    try:
        assert said(run("keyserver")) == (0, "", "")
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] > threshold[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
