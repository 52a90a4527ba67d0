"""Unit tests trust nobody: none of them speaks to anybody."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_authorities() -> Iterator[None]:
    """Read no authorities of the system's, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield
