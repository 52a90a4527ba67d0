"""A scope's record says which KEKs its DEK was ever under."""

from kmworker.domain.model import Encryption, ScopeRecord

A, B, C = "a" * 16, "b" * 16, "c" * 16


def scope(kek_id: str) -> ScopeRecord:
    encryption = Encryption("aes-xts-plain64", 512)
    return ScopeRecord("s1", "volume:v1", "d1", encryption, kek_id, None, "2026-01-01T00:00:00Z")


def test_each_kek_that_a_dek_was_under_is_kept_once_in_order() -> None:
    assert scope(A).former_keks == ()
    assert scope(A).under(B).under(C).former_keks == (A, B)
    assert scope(A).under(B).under(A).under(B).former_keks == (A,)
    assert scope(A).under(B).under(A).former_keks == (B,)


def test_under_the_same_kek_nothing_changes() -> None:
    assert scope(A).under(A) == scope(A)


def test_a_dek_that_was_not_wrapped_yet_has_no_former_kek() -> None:
    assert scope("").under(A).former_keks == ()


def test_a_kek_exposes_what_is_and_what_was_under_it() -> None:
    moved = scope(A).under(B)
    assert moved.is_exposed_by(A)
    assert moved.is_exposed_by(B)
    assert not moved.is_exposed_by(C)
