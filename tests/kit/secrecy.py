"""Whether anything that is shown, logged or reported holds key material."""

import base64
from collections.abc import Iterator, Mapping
from types import TracebackType


def assert_shows_no_secret(text: str, secrets: Mapping[str, bytes]) -> None:
    """Not even eight bytes of one: as Python bytes, in hex or in base64."""
    for name, secret in secrets.items():
        forms = [repr(secret[:8])[2:-1], secret[:8].hex(), base64.b64encode(secret)[:10].decode()]
        assert not [form for form in forms if form in text], f"shows the {name}"


def frames_of(traceback: TracebackType | None) -> Iterator[str]:
    """The locals of the program's own frames, as a crash reporter would print them."""
    while traceback is not None:
        if "/kmworker/" in traceback.tb_frame.f_code.co_filename:
            yield repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


def shown_by(error: BaseException | None) -> Iterator[str]:
    """Everything that printing, logging or reporting an exception can reach."""
    while error is not None:
        yield f"{error!r} {error} {error.args!r} {vars(error)!r}"
        yield from frames_of(error.__traceback__)
        error = error.__cause__ or error.__context__
