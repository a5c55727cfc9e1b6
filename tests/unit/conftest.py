"""Unit tests need one processor, so a guest kernel may use another one in the meantime."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _guest_meanwhile(_guest_begins: None) -> None:
    """See tests/conftest.py."""
