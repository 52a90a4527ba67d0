"""What is sealed opens for its recipient, in its place, and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest

from kmworker.delegation.identity import Identity
from kmworker.delegation.sealing import OVERHEAD_BYTES, SealingKey, seal, upload_info
from tests.kit.delegation_vectors import AT, HOST, KEY, SERVER, UPLOAD
from tests.kit.flips import flipped

SEALED = seal(KEY, SERVER.public.seal, upload_info(UPLOAD))


def opens(**changed: Any) -> bool:
    opened = SERVER.open(SEALED, upload_info(replace(UPLOAD, **changed)))
    return opened is not None and bytes(opened.view) == KEY


def test_an_upload_opens_for_the_key_server_it_was_sealed_to() -> None:
    assert opens()
    assert HOST.open(SEALED, upload_info(UPLOAD)) is None


def test_what_another_client_has_sealed_cannot_be_uploaded_as_ones_own() -> None:
    assert not opens(client="blk02")


@pytest.mark.parametrize(
    "changed",
    [{"request_id": "x"}, {"project": "2f1d7d"}, {"secret_id": "x"}, {"object_type": "opaque"},
     {"size_bytes": 63}],
    ids=str,
)  # fmt: skip
def test_an_upload_is_bound_to_its_place(changed: dict[str, Any]) -> None:
    assert not opens(**changed)


def test_the_length_of_each_part_is_bound_with_it() -> None:
    one = upload_info(replace(UPLOAD, client="ab", project="c"))
    assert one != upload_info(replace(UPLOAD, client="a", project="bc"))


def test_every_flipped_byte_of_what_is_sealed_is_refused() -> None:
    for changed in flipped(SEALED):
        assert SERVER.open(changed, upload_info(UPLOAD)) is None


@pytest.mark.parametrize("length", [0, 1, 1_119, 1_120, OVERHEAD_BYTES, len(SEALED) - 1])
def test_what_is_truncated_is_refused(length: int) -> None:
    assert SERVER.open(SEALED[:length], upload_info(UPLOAD)) is None


def test_what_is_sealed_is_longer_by_the_key_and_the_tag() -> None:
    assert len(SEALED) == len(KEY) + OVERHEAD_BYTES
    assert len(seal(b"", SERVER.public.seal, b"")) == OVERHEAD_BYTES


def test_20_kib_are_sealed_and_opened() -> None:
    content = bytes(range(256)) * 80
    opened = SERVER.open(seal(content, SERVER.public.seal, b"x"), b"x")
    assert opened is not None
    assert bytes(opened.view) == content


def test_a_private_key_is_the_drafts_seed_of_32_bytes() -> None:
    assert SealingKey(bytes(32)).public != Identity(bytes(32), bytes(31) + b"x", AT).public.seal
    with pytest.raises(ValueError, match="32 bytes"):
        SealingKey(bytes(96))
