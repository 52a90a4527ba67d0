"""An object is stored where its client sealed it for, and nowhere else."""

from dataclasses import replace

import pytest

from kmworker.delegation.uploads import MAX_OBJECT_BYTES, open_upload, seal_upload
from tests.kit.delegation_vectors import HOST, KEY, SERVER, UPLOAD, read_vectors

SEALED = read_vectors()["upload.json"]["sealed"]


def test_an_object_is_opened_by_the_key_server_that_it_is_sealed_to() -> None:
    for sealed in (SEALED, seal_upload(bytearray(KEY), UPLOAD, SERVER.public.seal)):
        opened = open_upload(sealed, UPLOAD, SERVER)
        assert opened is not None
        assert bytes(opened.view) == KEY
        assert open_upload(sealed, UPLOAD, HOST) is None


def test_what_another_client_has_sealed_is_not_stored_as_ones_own() -> None:
    assert open_upload(SEALED, replace(UPLOAD, client="blk02"), SERVER) is None


@pytest.mark.parametrize("size_bytes", [-1, 0, 63, 65, MAX_OBJECT_BYTES + 1, 10**30])
def test_an_object_of_another_length_is_not_stored(size_bytes: int) -> None:
    assert open_upload(SEALED, replace(UPLOAD, size_bytes=size_bytes), SERVER) is None
    with pytest.raises(ValueError, match="length"):
        seal_upload(KEY, replace(UPLOAD, size_bytes=size_bytes), SERVER.public.seal)


@pytest.mark.parametrize("sealed", ["", "AAAA", "é", SEALED[:-4], SEALED + "AAAA", SEALED + "\n"])
def test_what_is_not_sealed_so_is_not_stored(sealed: str) -> None:
    assert open_upload(sealed, UPLOAD, SERVER) is None


def test_the_longest_object_is_20_kib() -> None:
    longest = replace(UPLOAD, size_bytes=MAX_OBJECT_BYTES)
    content = b"x" * MAX_OBJECT_BYTES
    opened = open_upload(seal_upload(content, longest, SERVER.public.seal), longest, SERVER)
    assert opened is not None
    assert len(opened) == MAX_OBJECT_BYTES
    longer = replace(UPLOAD, size_bytes=MAX_OBJECT_BYTES + 1)
    with pytest.raises(ValueError, match="at most"):
        seal_upload(content + b"x", longer, SERVER.public.seal)
