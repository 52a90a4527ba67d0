"""``kmworker worker``: signals and what it refuses; its work is tested elsewhere."""

import gc
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmworker.cli.worker import Stopper
from kmworker.errors import SetupError
from tests.kit.cli.stand import FilledStore, failed, run, said


class FakeWorker:
    """A worker that counts how often it is stopped."""

    stops = 0

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def stop(self) -> None:
        self.stops += 1

    def run(self) -> None:
        if self._error is not None:
            raise self._error


HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    # Whoever runs the tests may have it ignored (nohup), and that is inherited.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the process would have ended at once."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    return ended


def watched(stopper: Stopper) -> FakeWorker:
    worker = FakeWorker()
    stopper.watch(worker)  # type: ignore[arg-type]
    return worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_worker(number: signal.Signals) -> None:
    worker = watched(Stopper())
    assert worker.stops == 0
    signal.raise_signal(number)
    assert worker.stops == 1


def test_a_signal_before_there_is_a_worker_stops_it_once_it_is_there() -> None:
    stopper = Stopper()
    signal.raise_signal(signal.SIGTERM)
    worker = watched(stopper)
    assert worker.stops == 1


def test_a_second_signal_ends_the_process_at_once(codes: list[int]) -> None:
    watched(Stopper())
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert codes == [128 + signal.SIGINT]


def test_a_hangup_stops_the_worker_and_never_counts_as_asking_twice(codes: list[int]) -> None:
    stopper = Stopper()
    signal.raise_signal(signal.SIGHUP)
    worker = watched(stopper)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(number)
    assert worker.stops == 4
    assert codes == []
    signal.raise_signal(signal.SIGTERM)
    assert codes == [128 + signal.SIGTERM]


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Stopper()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    """What the command builds instead of a worker."""
    workers = [FakeWorker()]
    monkeypatch.setattr("kmworker.bootstrap.worker.build_worker", lambda _settings: workers[0])
    monkeypatch.setattr("kmworker.crypto.hardening.harden_process", lambda: None)
    return workers


@pytest.mark.usefixtures("built")
def test_what_is_there_at_the_start_is_not_looked_through_for_garbage_again() -> None:
    gc.unfreeze()
    try:
        assert said(run("worker")) == (0, "", "")
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_a_worker_says_in_its_log_what_crosses_a_network_in_plain_text(
    built: list[FakeWorker],
) -> None:
    there = {"broker__url": "amqp://u:hunter2@127.0.0.1/", "store__url": "redis://u:hunter2@store/"}
    code, _out, err = said(run("worker", **there))
    told = [json.loads(line) for line in err.splitlines()]
    assert code == 0
    assert [(it["level"], it["setting"], it["url"]) for it in told] == [
        ("warning", "store.url", "redis://u:***@store/")
    ]


def test_a_store_that_may_not_be_used_is_told_in_the_log(built: list[FakeWorker]) -> None:
    built[0] = FakeWorker(SetupError("the store is not durable", "turn it on"))
    err = failed(2, "worker")
    assert '"event": "refused to work"' in err
    assert '"detail": "the store is not durable"' in err
    assert '"hint": "turn it on"' in err


def test_a_worker_on_streams_refuses_a_policy_that_lists_producers(
    store: FilledStore, policy: Path
) -> None:
    listed = '\n[[producer]]\nuser = "cinder"\nprojects = ["*"]\ntypes = ["volume-created"]\n'
    policy.write_text(policy.read_text() + listed)
    err = failed(2, "worker", broker__url="redis://127.0.0.1")
    assert "the policy lists producers, and the embedded queue has no users" in err
    assert "use RabbitMQ, or leave [[producer]] out" in err
