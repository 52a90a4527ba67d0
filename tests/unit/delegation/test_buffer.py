"""A key is overwritten when it is used no more."""

import copy
import gc
import pickle

import pytest

from kmworker.delegation.buffer import KeyBuffer


def test_a_key_is_gone_at_the_end_of_its_with() -> None:
    key = KeyBuffer(b"secret")
    with key:
        view = key.view
        assert bytes(view) == b"secret"
    assert repr(key).endswith("wiped>")
    assert bytes(view) == bytes(6)
    with pytest.raises(ValueError, match="wiped"):
        _ = key.view


def test_a_key_is_gone_when_something_fails_meanwhile() -> None:
    key = KeyBuffer(b"secret")
    view = key.view
    with pytest.raises(RuntimeError), key:
        raise RuntimeError
    assert bytes(view) == bytes(6)


def test_a_key_that_is_dropped_is_overwritten() -> None:
    key = KeyBuffer(b"secret")
    view = key.view
    del key
    gc.collect()
    assert bytes(view) == bytes(6)


def test_a_view_can_neither_change_the_key_nor_let_it_move() -> None:
    key = KeyBuffer(b"secret")
    with pytest.raises(TypeError):
        key.view[0] = 0
    with pytest.raises(BufferError):
        key._content.extend(b"more")


def test_a_key_may_be_wiped_twice() -> None:
    key = KeyBuffer(b"secret")
    key.wipe()
    key.wipe()
    assert repr(key) == "<a key of 6 bytes, wiped>"


def test_a_key_is_neither_shown_nor_copied() -> None:
    key = KeyBuffer(b"secret")
    assert "secret" not in f"{key!r} {key}"
    assert len(key) == 6
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds key material"):
            attempt(key)
    with pytest.raises(TypeError):
        bytes(key)  # type: ignore[call-overload]
