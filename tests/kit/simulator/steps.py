"""Every I/O step of a process, numbered, and what goes wrong at one of them.

A step is a message written to the broker, one read from it, a call that waits for the
broker's answer, or one command to the store (each script of a pipeline is its own, so a
pipeline can take effect in part). A fault strikes before a step's effect, or after it
with the reply lost.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import Final, NoReturn

MAX_STEPS: Final = 20_000
# What a process does that has nothing to do.
IDLE: Final = (
    "store.zrangebyscore", "store.set", "store.pexpire", "store.sweep", "store.reindex",
    "store.hscan", "reports.", "anchor:",
    # It looks now and then whether the broker's names are still there.
    "consumer.declare", "consumer.bind", "consumer.open channel", "consumer.close channel",
)  # fmt: skip


class Crash(BaseException):
    """The process is gone: nothing in it may catch this and go on."""


class Fault(Enum):
    """What can go wrong at a step."""

    CRASH_BEFORE = "crash before"
    """The process ends. What it has written and the broker has not read is lost."""
    CRASH_AFTER = "crash after"
    """The process ends. What it has written still arrives."""
    CRASH_TORN = "crash torn"
    """As `CRASH_BEFORE` where events are published; acknowledgements still arrive."""
    CUT_BEFORE = "cut before"
    """The connection breaks, with what was written on it and not read; the process lives."""
    CUT_AFTER = "cut after"
    """The connection breaks when the step has had its effect; the process lives."""
    BROKER_RESTART = "broker restart"
    STORE_RESTART = "store restart"
    STORE_REFUSES = "store refuses"
    """The store, or what stands before it, answers the next command in words that nobody knows."""
    STORE_DEMOTED = "store demoted"
    """Whom this process is connected to is a replica from now on; its name leads elsewhere."""
    NACK = "nack"
    """The broker refuses to store the next message that is published."""
    SILENCE = "silence"
    """The broker stores what is published on this connection and never confirms it."""
    STALL = "stall"
    """Nothing gets through on this connection any more, either way, and nobody says so."""
    ALARM = "alarm"
    """The broker is short of memory for a while: it reads nothing from publishers."""
    CANCEL = "cancel"
    """The broker cancels all consumers."""

    @property
    def ends_the_process(self) -> bool:
        """Return whether another process must go on."""
        return self in CRASHES


CRASHES: Final = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CRASH_TORN})


class Life:
    """Whether a process still runs: when it is over, nothing that it does has an effect."""

    def __init__(self) -> None:
        self.is_over = False

    def go_on(self) -> None:
        """Raise `Crash` if the process is gone."""
        if self.is_over:
            raise Crash

    def end(self, why: str = "") -> NoReturn:
        """End the process."""
        self.is_over = True
        raise Crash(why)


class Step:
    """A step that was taken: its name, and whether anything was on the wires before it."""

    __slots__ = ("in_flight", "is_idle", "name", "torn")

    def __init__(self, name: str, *, in_flight: bool, torn: bool) -> None:
        self.name = name
        self.is_idle = _is_idle(name)
        """A process takes such a step when it has nothing to do."""
        self.in_flight = in_flight
        """Something was written and not read by the broker."""
        self.torn = torn
        """Something was so on both connections."""


class Steps:
    """One process's steps, and the faults planned for them by number.

    Attributes:
        taken: the steps so far.
        busy: how many of them were not idle.
        between: called before each step; another process may have its turn there.
        strike: makes a fault happen that is not the process's own end or connection's.
        on_crash: called with the fault when the process ends.
        wires: says whether something is in flight, and whether on both connections.
    """

    def __init__(self, life: Life, faults: Mapping[int, Fault] | None = None) -> None:
        self.taken: list[Step] = []
        self.between: Callable[[str], None] = lambda _name: None
        self.strike: Callable[[Fault, str], None] = lambda _fault, _name: None
        self.on_crash: Callable[[Fault], None] = lambda _fault: None
        self.wires: Callable[[], tuple[bool, bool]] = lambda: (False, False)
        self.busy = 0
        self._prefix = ""
        self._life = life
        self._faults = dict(faults or {})

    def plan(self, fault: Fault, after_steps: int = 0) -> None:
        """Let a fault strike at the step after so many more."""
        self._faults[len(self.taken) + after_steps] = fault

    @contextmanager
    def named(self, prefix: str) -> Iterator[None]:
        """Put a word before the names of the steps within."""
        self._prefix = f"{prefix}: "
        try:
            yield
        finally:
            self._prefix = ""

    def step(self, name: str, cut: Callable[[bool], NoReturn]) -> "_Taken":
        """Take a step, when what is returned is entered; its effect comes within.

        Args:
            name: what it is.
            cut: breaks the connection that it uses and raises that connection's error;
                called with whether what was written before still arrives.
        """
        return _Taken(self, name, cut)

    def _begin(self, name: str, cut: Callable[[bool], NoReturn]) -> Fault | None:
        self._life.go_on()
        self.between(name)
        self._life.go_on()
        in_flight, torn = self.wires()
        fault = self._faults.pop(len(self.taken), None)
        step = Step(self._prefix + name, in_flight=in_flight, torn=torn)
        self.taken.append(step)
        self.busy += not step.is_idle
        if len(self.taken) > MAX_STEPS:
            raise AssertionError(f"the process does not come to rest: {self._last()}")
        self._before(fault, name, cut)
        return fault

    def _end(self, fault: Fault | None, cut: Callable[[bool], NoReturn]) -> None:
        if fault is Fault.CRASH_AFTER:
            self._crash(fault)
        if fault is Fault.CUT_AFTER:
            cut(True)

    def _before(self, fault: Fault | None, name: str, cut: Callable[[bool], NoReturn]) -> None:
        if fault is None or fault in {Fault.CRASH_AFTER, Fault.CUT_AFTER}:
            return
        if fault.ends_the_process:
            self._crash(fault)
        if fault is Fault.CUT_BEFORE:
            cut(False)
        self.strike(fault, name)

    def _crash(self, fault: Fault) -> NoReturn:
        self.on_crash(fault)
        self._life.end(fault.value)

    def _last(self) -> list[str]:
        return [step.name for step in self.taken[-12:]]


class _Taken:
    """A step while it is taken; a class, because a generator takes longer, and a run has many."""

    __slots__ = ("_cut", "_fault", "_name", "_steps")

    def __init__(self, steps: Steps, name: str, cut: Callable[[bool], NoReturn]) -> None:
        self._steps = steps
        self._name = name
        self._cut = cut
        self._fault: Fault | None = None

    def __enter__(self) -> None:
        self._fault = self._steps._begin(self._name, self._cut)

    def __exit__(self, kind: type[BaseException] | None, *_others: object) -> None:
        if kind is None:
            self._steps._end(self._fault, self._cut)


@cache
def _is_idle(name: str) -> bool:
    # Each sweep looks how near projects are to the bound of their waiting rooms, too.
    return name == "store.hget" or name.startswith(IDLE)
