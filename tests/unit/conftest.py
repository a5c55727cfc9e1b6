"""Unit tests need one processor, so a guest kernel may use another one in the meantime."""

from __future__ import annotations

import pytest

from tests.conftest import begin_guest


@pytest.fixture(scope="session", autouse=True)
def _guest_meanwhile(request: pytest.FixtureRequest) -> None:
    begin_guest(request.session)
