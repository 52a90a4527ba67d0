"""What keeps copies true while nobody asks: one thread listens, another asks for them anew.

A process that forks has neither in its child, nor any copy: they begin with the first key there.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from kmworker.client.connecting import Backoff
from kmworker.client.copies import Copies, GivenUp
from kmworker.client.seen import Seen
from kmworker.delegation.checking import Checked, RevokedKey
from kmworker.domain.message import Original
from kmworker.domain.model import Item
from kmworker.errors import KMWorkerError, Untrusted

__all__ = ["Keeping"]

log = logging.getLogger("kmworker.client")

SLICE_S: Final = 0.25
"""Between two looks at whether it is to end."""
REMEMBERED: Final = 10_000
"""Messages, of which a repeat is none."""
LEAVE_S: Final = 2.0


class Keeping:
    """Of one process."""

    def __init__(  # noqa: PLR0913  # what it is to do, and who is told
        self,
        copies: Copies,
        *,
        hear: Callable[[float], Sequence[Original]],
        check: Callable[[Original], Checked],
        ask_anew: Callable[[Item, str], GivenUp | None],
        on_given_up: Callable[[GivenUp], object],
        leave: Callable[[], None],
    ) -> None:
        """Prepare; no thread is begun yet.

        Args:
            copies: that are kept.
            hear: returns what has come unasked for, waiting until then; monotonic seconds.
            check: returns what a key server has said; raises `Untrusted`.
            ask_anew: asks for a copy that is held, by its key-id; returns what was given up.
            on_given_up: called with each copy that is given up, once it is wiped.
            leave: leaves the broker; called by whoever ends last, too.
        """
        self._copies = copies
        self._hear = hear
        self._check = check
        self._ask_anew = ask_anew
        self._on_given_up = on_given_up
        self._leave = leave
        self._seen = Seen(REMEMBERED)
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_over = threading.Event()
        self._is_due = threading.Event()

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        with self._starting:
            if self._threads or self._is_over.is_set():
                return
            for name, run in (("listen", self._listen), ("refresh", self._refresh)):
                thread = threading.Thread(
                    target=self._until_over, args=(run,), name=f"kmworker-{name}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def stop(self) -> None:
        """End both; what is being asked for is waited for a moment."""
        with self._starting:
            self._is_over.set()
            self._is_due.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(LEAVE_S)

    def hurry(self) -> None:
        """Look now at what is to be asked for anew."""
        self._is_due.set()

    def tell(self, given_up: GivenUp | None) -> None:
        """Tell whoever wants to know of what is given up."""
        if given_up is None:
            return
        log.info("copy of %s given up: %s", given_up.item.ref, given_up.cause.value)
        try:
            self._on_given_up(given_up)
        except Exception:  # whatever the caller's function raises: others are to be told, too
            log.exception("on_given_up has failed for %s", given_up.item.ref)

    def _until_over(self, run: Callable[[], None]) -> None:
        run()
        # It may have connected anew, when all else had ended.
        self._leave()

    def _listen(self) -> None:
        backoff = Backoff()
        while not self._is_over.is_set():
            # Not by the other thread: it may be waiting for an answer.
            for given_up in self._copies.give_up_old():
                self.tell(given_up)
            try:
                heard = self._hear(monotonic() + SLICE_S)
                backoff.reset()
            except KMWorkerError as error:
                log.debug("not listening: %s", error)
                self._is_over.wait(backoff.next_s())
                continue
            for it in heard:
                self._heard(it)

    def _heard(self, message: Original) -> None:
        try:
            checked = self._check(message)
        except Untrusted as untrusted:
            # Whoever can write to the broker can send us anything.
            log.warning("what has come is no key server's: %s", untrusted)
            return
        said = checked.answer
        assert isinstance(said, RevokedKey)  # noqa: S101  # what is checked for
        if said.id in self._seen:
            return
        self._seen.add(said.id)
        self.tell(self._copies.end(said.revoked, checked.at_s))
        self.hurry()

    def _refresh(self) -> None:
        while not self._is_over.is_set():
            self._is_due.wait(SLICE_S)
            self._is_due.clear()
            for item, key_id in self._copies.to_ask():
                if self._is_over.is_set():
                    return
                self.tell(self._ask_anew(item, key_id))
