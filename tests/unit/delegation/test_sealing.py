"""What is sealed opens for its recipient, in its place, and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from kmworker.delegation import sealing
from kmworker.delegation.identity import Identity
from kmworker.delegation.sealing import OVERHEAD_BYTES, SealingKey, delivery_info, seal, upload_info
from kmworker.domain.keys import Encryption
from kmworker.domain.model import Item, Kind
from kmworker.errors import SetupError
from tests.kit.delegation_vectors import (
    AT,
    DELIVERED,
    HOST,
    KEY,
    REQUEST,
    SERVER,
    UPLOAD,
    VOLUME,
)
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


def delivery(**changed: Any) -> bytes:
    given = {
        "asked": REQUEST.asked,
        "fingerprint": HOST.public.fingerprint,
        "key_id": DELIVERED.key_id,
        "encryption": DELIVERED.encryption,
        "not_after": DELIVERED.not_after,
    }
    return delivery_info(**{**given, **changed})


ASKED = REQUEST.asked


@pytest.mark.parametrize(
    "changed",
    [
        {"asked": replace(ASKED, digest="0" * 64)},
        {"asked": replace(ASKED, project="2f1d7d")},
        {"asked": replace(ASKED, item=Item("2f1d7c", Kind.SNAPSHOT, VOLUME.id))},
        {"asked": replace(ASKED, item=None)},
        {"fingerprint": SERVER.public.fingerprint},
        {"key_id": UPLOAD.secret_id},
        {"encryption": Encryption("aes-xts-plain", 512)},
        {"encryption": Encryption("aes-xts-plain64", 256)},
        {"not_after": "2026-11-24T16:00:00.001Z"},
    ],
    ids=str,
)
def test_a_delivery_is_bound_to_what_was_asked_and_by_whom(changed: dict[str, Any]) -> None:
    sealed = seal(KEY, HOST.public.seal, delivery())
    assert HOST.open(sealed, delivery()) is not None
    assert HOST.open(sealed, delivery(**changed)) is None


def test_a_delivery_is_no_upload() -> None:
    assert delivery()[:22] == b"\0\0\0\x12kmworker/delivered"
    assert upload_info(UPLOAD)[:19] == b"\0\0\0\x0fkmworker/upload"


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


def test_a_key_pair_is_the_drafts() -> None:
    """By draft-connolly-cfrg-xwing-kem, appendix C: how its first `pk` begins and ends."""
    seed = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"
    public = SealingKey(bytes.fromhex(seed)).public.hex()
    assert public.startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5")
    assert public.endswith("859edb06eff389b27dce59844570216223593d4ba32d9abac8cd049040ef6534")


class Lacking:
    """ML-KEM, of a build on an older OpenSSL."""

    @staticmethod
    def from_public_bytes(_: bytes) -> None:
        raise UnsupportedAlgorithm("ML-KEM")


def test_a_build_without_ml_kem_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MLKEM768PublicKey", Lacking)
    sealing._check_supported.cache_clear()
    for attempt in (lambda: SealingKey(bytes(32)), lambda: seal(KEY, SERVER.public.seal, b"")):
        with pytest.raises(SetupError, match="has no ML-KEM") as refused:
            attempt()
        assert "PyPI" in refused.value.hint
