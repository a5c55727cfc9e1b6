"""Who called mnbed: under sudo the invoking user, who owns the files and the agents; otherwise the caller itself."""

from __future__ import annotations

import functools
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from node_agent.privileges import drop_for_good


@dataclass(frozen=True, kw_only=True)
class User:
    """The user a run belongs to."""

    uid: int
    gid: int
    groups: list[int]
    home: Path
    name: str = ""


def invoking_user() -> User:
    """The user behind sudo (SUDO_UID), or the caller itself. Only root can call for somebody else."""
    uid = int(os.environ.get("SUDO_UID", os.getuid())) if os.geteuid() == 0 else os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        # In a container the number may have no name.
        gid = int(os.environ.get("SUDO_GID", os.getgid()))
        return User(uid=uid, gid=gid, groups=[], home=Path("/"), name=str(uid))
    return User(
        uid=uid,
        gid=entry.pw_gid,
        groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
        home=Path(entry.pw_dir),
        name=entry.pw_name,
    )


@functools.cache
def callers_umask() -> int:
    """The umask that mnbed was called with, for the user's processes.

    From now on, what root creates has exactly the mode that is asked for; with a caller's 077, agents could not reach
    it.
    """
    return os.umask(0o022)


def become_invoking_user() -> None:
    """Drop root for good if it came from sudo and is not needed."""
    user = invoking_user()
    if os.geteuid() == 0 and user.uid != 0:
        drop_for_good(user.uid, user.gid, user.groups)
        os.environ.update(user_environment(user))


def user_environment(user: User) -> dict[str, str]:
    """The user's values of variables that sudo sets to root's."""
    return {"HOME": str(user.home), "USER": user.name, "LOGNAME": user.name}


def data_root(setting: str | None, user: User) -> Path:
    """Where data sets are looked for: the experiment's data_root, else $MNBED_DATA, else ~/.cache/mnbed of the user."""
    if setting is not None:
        at_home = setting == "~" or setting.startswith("~/")
        return user.home / setting[2:] if at_home else Path(setting).expanduser()
    from_environment = os.environ.get("MNBED_DATA")
    return Path(from_environment) if from_environment else user.home / ".cache" / "mnbed"


def cache_root(user: User) -> Path:
    """Where mnbed remembers what it measured: $MNBED_CACHE, else ~/.cache/mnbed of the user."""
    from_environment = os.environ.get("MNBED_CACHE")
    return Path(from_environment) if from_environment else user.home / ".cache" / "mnbed"
