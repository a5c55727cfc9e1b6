"""Which user a run belongs to, and where data is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnbed.run.user import User, data_root, invoking_user

ANN = User(uid=1000, gid=1000, groups=[], home=Path("/home/ann"))


def test_behind_sudo_is_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert invoking_user().uid == os.getuid()
    monkeypatch.setenv("SUDO_UID", "65534")
    assert invoking_user().uid == 65534


def test_a_user_without_a_name_is_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "54321")
    monkeypatch.setenv("SUDO_GID", "54322")
    assert invoking_user() == User(uid=54321, gid=54322, groups=[], home=Path("/"), name="54321")


def test_data_is_looked_for_where_the_experiment_then_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MNBED_DATA", "/env")
    assert data_root("/here", ANN) == Path("/here")
    assert data_root(None, ANN) == Path("/env")
    monkeypatch.delenv("MNBED_DATA")
    assert data_root(None, ANN) == Path("/home/ann/.cache/mnbed")
