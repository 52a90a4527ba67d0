"""The store, as commands see it."""

from time import time

from kmworker.errors import StoreUnavailable
from kmworker.settings import Settings
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names

__all__ = ["now_of", "views_of"]


def views_of(settings: Settings) -> Views:
    """Return the store as commands see it; nothing is sent to it yet.

    Raises:
        SetupError: no store is configured.
    """
    return Views(connect(settings.store), Names(settings.store.prefix))


def now_of(views: Views) -> float:
    """Return the store's time, by which workers report; Unix seconds.

    Ours where its user may not ask: whether the store is there at all, the next request says.
    """
    try:
        return views.clock_s()
    except StoreUnavailable:
        return time()
