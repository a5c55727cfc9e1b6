"""Who called mnbed: under sudo the invoking user, whose files and agents these are; else whoever runs it."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class User:
    """The user a run belongs to."""

    uid: int
    gid: int
    groups: list[int]
    home: Path


def invoking_user() -> User:
    """The user behind sudo (SUDO_UID), or the caller itself."""
    uid = int(os.environ.get("SUDO_UID", os.getuid()))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        # A container may know no name for the number.
        return User(uid=uid, gid=int(os.environ.get("SUDO_GID", os.getgid())), groups=[], home=Path("/"))
    return User(
        uid=uid,
        gid=entry.pw_gid,
        groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
        home=Path(entry.pw_dir),
    )


def data_root(setting: str | None, user: User) -> Path:
    """Where data sets are looked for: the experiment's data_root, $MNBED_DATA, ~/.cache/mnbed of the user."""
    if setting is not None:
        return Path(setting).expanduser()
    from_environment = os.environ.get("MNBED_DATA")
    return Path(from_environment) if from_environment else user.home / ".cache" / "mnbed"


def cache_root(user: User) -> Path:
    """Where mnbed remembers what it measured: $MNBED_CACHE, else ~/.cache/mnbed of the user."""
    from_environment = os.environ.get("MNBED_CACHE")
    return Path(from_environment) if from_environment else user.home / ".cache" / "mnbed"


def give_to(user: User, path: Path) -> None:
    """Make the user owner of that file, or of a folder and all in it."""
    if os.geteuid() != 0:
        return
    os.lchown(path, user.uid, user.gid)
    if path.is_dir():
        for folder, names, files in os.walk(path):
            for name in (*names, *files):
                os.lchown(os.path.join(folder, name), user.uid, user.gid)
