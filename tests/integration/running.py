"""A worker in a thread of the test's own process: with real servers, and in reach."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from kmworker.bootstrap.worker import build_worker
from kmworker.crypto import Keyring
from kmworker.settings import BrokerSettings, KeyringSettings, Settings, StoreSettings
from kmworker.worker.loop import Worker

STOP_S = 60.0


def settings_for(
    folder: Path, *, broker: str, namespace: str, store: str, prefix: str, **sections: Any
) -> Settings:
    """Settings of an installation, with a keyring in the folder."""
    keyring = folder / "keyring.json"
    if not keyring.exists():
        Keyring.generate(keyring)
    return Settings(
        broker=BrokerSettings(url=broker, namespace=namespace),
        store=StoreSettings(url=store, prefix=prefix),
        keyring=KeyringSettings(path=keyring),
        **sections,
    )


@contextmanager
def running(settings: Settings, count: int = 1) -> Iterator[list[Worker]]:
    """Run workers; whatever ends one early fails the test."""
    workers = [build_worker(settings) for _ in range(count)]
    failures: list[BaseException] = []

    def run(worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001  # told to the test
            failures.append(error)

    threads = [Thread(target=run, args=[worker], daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(STOP_S)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads), "a worker does not stop"
