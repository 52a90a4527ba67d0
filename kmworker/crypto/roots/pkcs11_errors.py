"""What a token answers, sorted by whether asking again can help."""

from typing import Final

from pkcs11 import exceptions as said

from kmworker.crypto.roots.root_url import HINT
from kmworker.errors import KMWorkerError, RootAway, SetupError

__all__ = ["as_ours"]

# The library's words for "not now": most tokens know no finer ones than the first two.
AWAY: Final = (
    said.GeneralError,
    said.FunctionFailed,
    said.DeviceError,
    said.DeviceMemory,
    said.DeviceRemoved,
    said.HostMemory,
    said.KeyHandleInvalid,
    said.ObjectHandleInvalid,
    said.SessionClosed,
    said.SessionCount,
    said.SessionHandleInvalid,
    said.SlotIDInvalid,
    said.TokenNotPresent,
)
WRONG: Final[dict[type[said.PKCS11Error], tuple[str, str]]] = {
    said.PinIncorrect: ("the PIN is wrong; it was tried once", "write the right one to its file"),
    said.PinLocked: ("the PIN is locked", "have the security officer set a new one"),
    said.PinExpired: ("the PIN has expired", "set a new one, and write it to its file"),
    said.PinLenRange: ("the PIN is too short or too long", "write the right one to its file"),
    said.PinInvalid: ("the PIN has characters that are not allowed", "write the right one"),
    said.UserPinNotInitialized: ("the token has no PIN yet", "have the security officer set one"),
    said.MultipleTokensReturned: ("there are several such tokens", "name one by serial="),
    said.MechanismInvalid: ("the key or token does not take the mechanism", HINT),
}


def as_ours(url: str, error: said.PKCS11Error) -> KMWorkerError:
    """Return what is raised in the place of an error of the library's."""
    if isinstance(error, said.NoSuchToken):
        return RootAway(f"root {url}: there is no such token now")
    if isinstance(error, AWAY):
        return RootAway(f"root {url}: the token does not work ({type(error).__name__})")
    # The library has no name of its own for this one.
    if "exception while loading" in str(error):
        return SetupError(f"root {url}: the PKCS#11 module cannot be loaded", "check module-path")
    problem, hint = WRONG.get(type(error), (f"the token refuses ({type(error).__name__})", HINT))
    return SetupError(f"root {url}: {problem}", hint)
