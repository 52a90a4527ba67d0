"""What each root holds, whichever it is."""

import pytest

from kmworker.crypto.roots import context_of
from kmworker.errors import SetupError
from tests.contract.roots.conftest import KEK, Kind
from tests.kit.secrecy import assert_shows_no_secret, shown_by

CONTEXT = context_of(KEK.kek_id)


def test_what_was_wrapped_unwraps_to_the_same(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    assert kind.root.unwrap(blob, CONTEXT) == KEK.export()


def test_a_wrapped_kek_does_not_hold_it_in_the_clear(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    assert KEK.export()[:8] not in blob


def test_as_another_kek_it_does_not_unwrap(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    with pytest.raises(SetupError, match="does not unwrap"):
        kind.root.unwrap(blob, context_of("0" * 16))


def test_under_another_key_it_does_not_unwrap(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    assert kind.another.unwrap(kind.another.wrap(KEK, CONTEXT), CONTEXT) == KEK.export()
    with pytest.raises(SetupError, match="does not unwrap"):
        kind.another.unwrap(blob, CONTEXT)


@pytest.mark.parametrize("where", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
def test_with_a_flipped_bit_it_does_not_unwrap(kind: Kind, where: float) -> None:
    blob = bytearray(kind.root.wrap(KEK, CONTEXT))
    blob[int(where * (len(blob) - 1))] ^= 2
    with pytest.raises(SetupError):
        kind.root.unwrap(bytes(blob), CONTEXT)


@pytest.mark.parametrize("length", [0, 1, 13, 40])
def test_a_part_of_it_does_not_unwrap(kind: Kind, length: int) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    with pytest.raises(SetupError):
        kind.root.unwrap(blob[:length], CONTEXT)


def test_after_a_blob_that_is_refused_the_next_unwraps(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    with pytest.raises(SetupError):
        kind.root.unwrap(blob[:-1] + bytes([blob[-1] ^ 2]), CONTEXT)
    assert kind.root.unwrap(blob, CONTEXT) == KEK.export()


def test_its_url_names_no_file_and_no_secret(kind: Kind) -> None:
    assert not [it for it in kind.secrets if it.decode() in kind.root.url]
    assert "/tmp" not in kind.root.url  # noqa: S108  # where the tests' secrets lie


def test_no_refusal_shows_key_material_or_a_secret(kind: Kind) -> None:
    blob = kind.root.wrap(KEK, CONTEXT)
    secrets = {"KEK": KEK.export(), **{f"secret {n}": it for n, it in enumerate(kind.secrets)}}
    for context in (b"", CONTEXT + b"x"):
        with pytest.raises(SetupError) as caught:
            kind.root.unwrap(blob, context)
        for text in shown_by(caught.value):
            assert_shows_no_secret(text, secrets)
            assert not [it for it in kind.secrets if it.decode() in text]
