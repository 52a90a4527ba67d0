"""What all that holds key material has in common, in whichever room it is."""

from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """Holds key material, and is not copied or pickled with it."""

    __slots__ = ()

    # A pickle would carry the key into whatever stores or sends pickles: a queue of
    # jobs, a cache on disk, a crash reporter that serialises local variables.
    def __reduce__(self) -> NoReturn:
        """Refuse.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{type(self).__name__} holds key material: it is not copied or pickled")
