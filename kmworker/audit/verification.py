"""Is the trail what an auditor wrote? Finds the first line that is not, and says what became of it.

Lines come one by one and are forgotten: what is kept is the end of the chain, and the numbers of
writers. After the first fault it only looks whether the line that is missing there stands further
on: what comes later stands on what is not known any more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kmworker.audit.checkpoints import Checkpoint, CheckSignature, read_checkpoint
from kmworker.audit.exported import Ended, Heading, Omitted, read_part
from kmworker.audit.lines import GENESIS, Line, Tip, linked
from kmworker.audit.numbering import WriterNumbers
from kmworker.audit.verified import Tampering, TrailFault, Verified

__all__ = ["verify"]

MAX_TOLD: Final = 100


def verify(  # noqa: PLR0913  # what it is given to look at, and how
    lines: Iterable[bytes],
    checkpoints: Sequence[Checkpoint] = (),
    check: CheckSignature | None = None,
    *,
    key: str | None = None,
    from_start: bool = False,
    on_line: Callable[[int], None] = lambda _number: None,
) -> Verified:
    """Read lines, without their line breaks, to the first that is wrong or to their end.

    Args:
        lines: of a trail's files one after the other, or of an export.
        checkpoints: that were kept elsewhere.
        check: looks at signatures; None: they are not looked at.
        key: the public key (hexadecimal) that signatures must be of; None: whichever they name.
        from_start: the first line has to be the trail's first.
        on_line: called with how many lines were read since the last call.
    """
    run = _Verification(checkpoints, check, key)
    if from_start:
        run.expected = GENESIS
    rest = iter(lines)
    for text in rest:
        run.read(text)
        on_line(1)
        if run.found.fault is not None:
            run.look_ahead(rest)
            break
    else:
        run.end()
    return run.found


class _Verification:
    def __init__(
        self, checkpoints: Sequence[Checkpoint], check: CheckSignature | None, key: str | None
    ) -> None:
        self.found = Verified()
        self.expected: Tip | None = None
        self._check = check
        self._key = key
        self._elsewhere = sorted(checkpoints, key=lambda it: it.line)
        self._next = 0
        self._numbers = WriterNumbers()
        self._heading: Heading | None = None
        self._ended: Ended | None = None
        self._stranger = 0

    def read(self, text: bytes) -> None:
        found = self.found
        found.read += 1
        try:
            part = read_part(text)
        except ValueError as broken:
            self._fault(Tampering.CHANGED, self._next_number, f"it is not as written: {broken}")
            return
        if self._ended is not None:
            self._fault(Tampering.DOUBLED, self._next_number, "it stands behind the export's end")
            return
        match part:
            case Heading():
                self._begin(part)
            case Ended():
                self._ended = part
            case Omitted():
                self._pass_over(part)
            case Line():
                self._take(part)

    def end(self) -> None:
        """Look at what only the end can show."""
        found, last = self.found, self.found.tip.number
        ended = self._ended
        heading = self._heading
        if not found.read:
            self._fault(Tampering.CUT_OFF, 1, "there is nothing")
        elif heading is not None and ended is None:
            self._fault(Tampering.CUT_OFF, last + 1, "the export has no end")
        elif ended is not None and heading is None:
            self._fault(Tampering.REMOVED, found.first, "the export has no beginning")
        elif ended is not None and heading is not None and ended.heading != heading.digest:
            said = "what the export says of itself is not what it was"
            self._fault(Tampering.CHANGED, heading.first, said)
        elif ended is not None and ended.tip != found.tip:
            cut = ended.tip.number > last
            kind = Tampering.CUT_OFF if cut else Tampering.CHANGED
            at = last + 1 if cut else max(last, 1)
            self._fault(kind, at, f"the export says that it ends with line {ended.tip.number}")
        elif self._next < len(self._elsewhere):
            it = self._elsewhere[-1]
            said = f"a checkpoint of {it.at} says that there were {it.line} lines"
            self._fault(Tampering.CUT_OFF, last + 1, said)
        else:
            missing, awaited = self._numbers.missing()
            found.missing, found.awaited = missing[:MAX_TOLD], awaited[:MAX_TOLD]

    def look_ahead(self, rest: Iterator[bytes]) -> None:
        """Tell what was removed from what stands elsewhere."""
        fault = self.found.fault
        if fault is None or fault.kind is not Tampering.REMOVED:
            return
        for position, text in enumerate(rest, start=fault.position + 1):
            try:
                part = read_part(text)
            except ValueError:
                continue
            if not isinstance(part, Line | Omitted) or part.number != fault.line:
                continue
            if position == fault.position + 1:
                # All is in order but for what stands before it.
                moved, where = self._stranger, f"before line {fault.line}"
            else:
                moved, where = fault.line, f"further on, as number {position} of those read"
            said = f"it stands {where}"
            self.found.fault = TrailFault(Tampering.MOVED, moved, fault.position, said)
            return

    # --- parts of what is read ---------------------------------------------------------

    def _begin(self, heading: Heading) -> None:
        if self.found.read > 1:
            self._fault(Tampering.DOUBLED, self._next_number, "another export begins here")
            return
        self._heading = heading
        self.expected = Tip(heading.first - 1, heading.previous)

    def _pass_over(self, omitted: Omitted) -> None:
        """Go along digests; from here on, numbers of writers say nothing."""
        self._numbers.give_up()
        if self.expected is None or omitted.number != self.expected.number + 1:
            self._misplaced(omitted.number)
            return
        for digest in omitted.digests:
            tip = self.expected
            self.found.omitted += 1
            self.found.unsigned += 1
            self._advance(Tip(tip.number + 1, linked(tip.digest, digest)))
            if self.found.fault is not None:
                return

    def _take(self, line: Line) -> None:
        expected = self.expected
        if expected is None:
            expected = self.expected = Tip(line.number - 1, line.previous)
        if line.number != expected.number + 1:
            self._misplaced(line.number)
            return
        if line.previous != expected.digest:
            if expected == GENESIS:
                self._fault(Tampering.CHANGED, 1, "it does not begin a trail")
            else:
                said = f"line {line.number} was written after another one"
                self._fault(Tampering.CHANGED, expected.number, said)
            return
        self._note(line)
        self._numbers.pass_time(line.at)
        if self.found.fault is None:
            self.found.unsigned += line.kind != "checkpoint"
            self._advance(line.tip)

    def _misplaced(self, number: int) -> None:
        awaited = self._next_number
        if number < awaited:
            what = f"it stands again where line {awaited} should be"
            self._fault(Tampering.DOUBLED, number, what)
            return
        self._stranger = number
        upto = "" if number == awaited + 1 else f" to {number - 1}"
        self._fault(Tampering.REMOVED, awaited, f"line {awaited}{upto} is not there")

    def _advance(self, tip: Tip) -> None:
        found = self.found
        found.first = found.first or tip.number
        self.expected = found.tip = tip
        while self._next < len(self._elsewhere) and self._elsewhere[self._next].line <= tip.number:
            it = self._elsewhere[self._next]
            if it.line == tip.number and not self._holds(it, tip):
                return
            self._next += 1

    # --- what lines say ----------------------------------------------------------------

    def _note(self, line: Line) -> None:
        match line.kind:
            case "record":
                self.found.records += 1
                if wrong := self._numbers.wrong_with(line):
                    self._alarm(line, wrong)
            case "segment":
                self._segment(line.fields["segment"])
            case "checkpoint":
                self._own_checkpoint(line)
            case "conflicting":
                self._alarm(line, "another record came under a number that was taken")
            case "unreadable":
                self._alarm(line, "a message came that is no record")
            case _:
                # A later release's: it is in the chain, and what it means is not known here.
                pass

    def _segment(self, fields: Any) -> None:  # noqa: ANN401  # parsed JSON
        if not isinstance(fields, Mapping):
            return
        self.found.trails.add(str(fields.get("trail")))
        if self.found.tip == GENESIS:
            self._numbers.begin(fields.get("writers"))

    def _own_checkpoint(self, line: Line) -> None:
        assert self.expected is not None  # noqa: S101  # it was set before
        try:
            it = read_checkpoint(line.fields["checkpoint"])
        except ValueError as wrong:
            self._alarm(line, str(wrong))
            return
        if it.line == self.expected.number:
            self._holds(it, self.expected, line.number)
        else:
            said = f"its checkpoint is of line {it.line}"
            self._fault(Tampering.FORGED, line.number, said)

    def _holds(self, it: Checkpoint, tip: Tip, place: int | None = None) -> bool:
        """Look at a checkpoint of the line that was reached."""
        if self._key is not None and it.key != self._key:
            said = f"the checkpoint of {it.at} is signed by another key: {it.key}"
            self._fault(Tampering.FORGED, place or it.line, said)
        elif self._check is not None and not self._check(it.key, it.signed, it.signature):
            said = f"the signature of the checkpoint of {it.at} does not hold"
            self._fault(Tampering.FORGED, place or it.line, said)
        elif self.found.trails and it.trail not in self.found.trails:
            said = f"the checkpoint of {it.at} is of another trail: {it.trail}"
            self._fault(Tampering.FORKED, it.line, said)
        elif it.digest != tip.digest:
            said = f"on {it.at} another line {it.line} was signed: an older copy was written to"
            self._fault(Tampering.FORKED, it.line, said)
        else:
            self.found.keys.add(it.key)
            if self.found.signed is None or it.line >= self.found.signed.line:
                self.found.signed, self.found.unsigned = it, 0
            return True
        return False

    # --- what is found -----------------------------------------------------------------

    @property
    def _next_number(self) -> int:
        return 1 if self.expected is None else self.expected.number + 1

    def _alarm(self, line: Line, why: str) -> None:
        if len(self.found.alarms) < MAX_TOLD:
            self.found.alarms.append((line.number, why))

    def _fault(self, kind: Tampering, line: int, detail: str) -> None:
        self.found.fault = TrailFault(kind, line, self.found.read, detail)
