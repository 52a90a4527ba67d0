"""What is done to servers, lines and workers, and how it is undone.

To inflict a fault returns how to lift it. What is measured is the time from there to the
next assignment that is made and heard of; or, where the fault was one worker's, to that
worker's next batch, so that its neighbours do not answer for it.
"""

import signal
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import redis

from tests.chaos.disk import fill_disk
from tests.chaos.fault import Fault, Lift
from tests.chaos.ground import Ground
from tests.chaos.replicas import promote_replica
from tests.chaos.surroundings import PARTIES, SURROUNDINGS
from tests.kit.polling import until
from tests.kit.servers import FAIR, Proxy, Weather

PATIENCE_S: Final = 300.0
WRITING_S: Final = (0.1, 0.5)
SLICE_BYTES: Final = 48
CUT_WITHIN_BYTES: Final = 4_000
UNKNOWN: Final = b"-upstream failure\r\n"


# --- workers ------------------------------------------------------------------------


def _kill_one(ground: Ground, draw: Random) -> Lift:
    ground.kill_worker(draw.choice(ground.awake()))
    return lambda: ground.add_worker().process.pid


def _kill_all(ground: Ground, draw: Random) -> Lift:
    killed = ground.awake()
    for worker in killed:
        ground.kill_worker(worker)

    def lift() -> None:
        for _ in killed:
            ground.add_worker()

    return lift


def _pause_one(ground: Ground, draw: Random) -> Lift:
    worker = draw.choice(ground.awake())
    ground.paused.append(worker)
    worker.process.send_signal(signal.SIGSTOP)

    def lift() -> int:
        ground.paused.remove(worker)
        worker.process.send_signal(signal.SIGCONT)
        return worker.process.pid

    return lift


# --- the store ----------------------------------------------------------------------


def _kill_store(ground: Ground, draw: Random) -> Lift:
    ground.store.kill()
    return ground.store.start


def _end_store(ground: Ground, draw: Random) -> Lift:
    ground.store.stop()
    return ground.store.start


def _rewrite_and_kill(ground: Ground, draw: Random) -> Lift:
    ground.store.rewrite(within_s=PATIENCE_S)
    # Something is written behind what was rewritten, and is read otherwise.
    time.sleep(draw.uniform(*WRITING_S))
    return _kill_store(ground, draw)


def _fill_memory(ground: Ground, draw: Random) -> Lift:
    _set(ground, maxmemory=1)
    return lambda: _set(ground, maxmemory=0)


def _refuse_writes(ground: Ground, draw: Random) -> Lift:
    """Let a snapshot fail: where it would be put, there is a folder."""
    in_the_way = ground.store.folder / "dump.rdb"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    _set(ground, save="3600 1000000")
    _save(ground, "err")

    def lift() -> None:
        in_the_way.rmdir()
        _save(ground, "ok")
        _set(ground, save="")

    return lift


def _fill_disk(ground: Ground, draw: Random) -> Lift:
    fill_disk(ground.store)
    # It ends with the write that does not fit any more.
    until(
        lambda: not ground.store.running,
        "the store ends",
        within_s=PATIENCE_S,
        between=_write(ground),
    )
    return ground.store.start


def _flush_scripts(ground: Ground, draw: Random) -> Lift:
    _command(ground, "SCRIPT", "FLUSH")
    return lambda: None


def _command(ground: Ground, *words: object) -> Any:
    with ground.store.admin() as client:
        return client.execute_command(*words)


def _set(ground: Ground, **options: object) -> None:
    for name, value in options.items():
        _command(ground, "CONFIG", "SET", name, value)


def _save(ground: Ground, status: str) -> None:
    """Save a snapshot, which must end like this."""

    def is_done() -> bool:
        found = _command(ground, "INFO", "persistence")
        return not found["rdb_bgsave_in_progress"] and found["rdb_last_bgsave_status"] == status

    _command(ground, "BGSAVE")
    until(is_done, f"a snapshot ends: {status}", within_s=PATIENCE_S)


def _write(ground: Ground) -> Callable[[], None]:
    """Return what fills the last gap when no worker writes."""
    key = f"{ground.site.prefix}:ballast"

    def write() -> None:
        try:
            _command(ground, "SET", key, "x" * 4096)
            _command(ground, "DEL", key)
        except redis.RedisError:
            # That was the one.
            return

    return write


# --- RabbitMQ -----------------------------------------------------------------------


def _kill_broker(ground: Ground, draw: Random) -> Lift:
    assert ground.broker is not None
    ground.broker.kill()
    return ground.broker.start


def _close_connections(ground: Ground, draw: Random) -> Lift:
    assert ground.broker is not None
    ground.broker.ctl("close_all_connections", "chaos")
    return lambda: None


def _alarm(ground: Ground, draw: Random) -> Lift:
    broker = ground.broker
    assert broker is not None
    broker.ctl("set_vm_memory_high_watermark", "0")

    def lift() -> None:
        broker.ctl("set_vm_memory_high_watermark", "0.4")

    return lift


# --- lines --------------------------------------------------------------------------

Line = Callable[[Ground], Proxy]


def _weather(line: Line, weather: Weather, end: Callable[[Proxy], None] | None = None) -> Any:
    def inflict(ground: Ground, draw: Random) -> Lift:
        line(ground).change(weather)
        if end is not None:
            end(line(ground))
        return lambda: line(ground).change(FAIR)

    return inflict


def _ends(line: Line, end: Callable[[Proxy], None]) -> Any:
    def inflict(ground: Ground, draw: Random) -> Lift:
        end(line(ground))
        return lambda: None

    return inflict


def _on_line(what: str, line: Line) -> list[Fault]:
    on = f"{what} line"
    refusing, stalled = Weather(refusing=True), Weather(stalled=True)
    sliced = Weather(slice_bytes=SLICE_BYTES)
    cut = Weather(cut_within_bytes=CUT_WITHIN_BYTES)
    to = f"the line to the {what}"
    return [
        Fault(f"{what}-cut-off", f"{to} is cut, and stays cut", on,
              _weather(line, refusing, Proxy.cut), (3, 20), is_away=True),
        Fault(f"{what}-reset", f"{to}: every connection reset", on, _ends(line, Proxy.reset)),
        Fault(f"{what}-stalled", f"{to} stalls, connections stay open", on,
              _weather(line, stalled), (2, 25), is_away=True),
        Fault(f"{what}-sliced", f"{to} passes 1 to {SLICE_BYTES} bytes at a time", on,
              _weather(line, sliced), (0.5, 10), stops_all=False),
        Fault(f"{what}-cut-mid-message",
              f"{to} resets each connection after 1 to {CUT_WITHIN_BYTES} bytes", on,
              _weather(line, cut), (1, 10)),
    ]  # fmt: skip


FAULTS: Final = {
    fault.name: fault
    for fault in [
        Fault("worker-killed", "SIGKILL of one worker, another started", "worker",
              _kill_one, (0, 2), stops_all=False),
        Fault("workers-killed", "SIGKILL of all workers, others started", "worker",
              _kill_all, (0, 2)),
        Fault("worker-stopped", "SIGSTOP of one worker for over two heartbeats", "worker",
              _pause_one, (12, 20), stops_all=False, spans_rounds=True),
        Fault("store-killed", "SIGKILL of the store, started again", "store",
              _kill_store, (1, 10), is_away=True),
        Fault("store-terminated", "SIGTERM of the store, started again", "store",
              _end_store, (1, 5), is_away=True),
        Fault("store-rewritten", "SIGKILL of the store after a rewrite of its file, started again",
              "store", _rewrite_and_kill, (1, 5), is_away=True),
        Fault("replica-promoted", "a replica of the store takes over its address", "store",
              promote_replica, needs_broker=True),
        Fault("store-out-of-memory", "the store is out of memory (noeviction)", "store",
              _fill_memory, (1, 10)),
        Fault("store-refuses-writes", "the store refuses writes (MISCONF, a snapshot failed)",
              "store", _refuse_writes, (1, 10)),
        Fault("store-disk-full", "the store ends on a full disk, started again with room", "store",
              _fill_disk, (1, 5)),
        Fault("scripts-flushed", "SCRIPT FLUSH", "store", _flush_scripts),
        *_on_line("store", lambda ground: ground.store_line),
        Fault("store-unknown-error", "a proxy answers in the store's place: “upstream failure”",
              "store line", _weather(lambda ground: ground.store_line, Weather(answer=UNKNOWN)),
              (2, 10), is_away=True),
        Fault("broker-killed", "SIGKILL of RabbitMQ, started again", "broker",
              _kill_broker, (0, 5), is_away=True, needs_broker=True),
        Fault("broker-closes-connections", "rabbitmqctl close_all_connections", "broker",
              _close_connections, needs_broker=True),
        Fault("broker-memory-alarm", "RabbitMQ blocks publishers (memory alarm)", "broker",
              _alarm, (1, 20), needs_broker=True),
        *_on_line("broker", lambda ground: ground.broker_line),
        *SURROUNDINGS,
        *PARTIES,
    ]
}  # fmt: skip
