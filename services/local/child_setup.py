"""What a child does to itself between fork and exec: dies with its parent, and is not root where that matters."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.local.errors import PlainError

USER_SETTING = "PROMPTMESH_POSTGRES_USER"

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_LINUX = sys.platform.startswith("linux")
_LIBC = ctypes.CDLL(None, use_errno=True) if _LINUX else None


class UnprivilegedUserError(PlainError):
    """PostgreSQL refuses to run as root, and no other user can run it here; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """A user that a child becomes.

    `capability` is the one capability it keeps, as its number: needed only where the user could not otherwise
    walk to its files (a data folder below /root, say); None keeps nothing.
    """

    uid: int
    gid: int
    capability: int | None = None


def unprivileged_identity(needs: list[Path], owned: Path | None = None, user: str | None = None) -> Identity | None:
    """The user that runs what must not run as root: None (stay who we are) unless we are root.

    `needs` are the files and folders it has to reach. `owned`, if it exists and is not root's, decides the user, so
    that data keeps its owner when users come and go on a machine; then `user`; then `postgres`, then `nobody`.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = _choose_user(owned, user)
    if all(_can_reach(path, uid, gid) for path in needs):
        return Identity(uid, gid)
    held = _effective_capabilities()
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if held >> capability & 1:
            return Identity(uid, gid, capability)
    blocked = next(path for path in needs if not _can_reach(path, uid, gid))
    raise UnprivilegedUserError(
        f"PostgreSQL does not run as root, and user {uid} cannot reach {blocked}. "
        f"Choose a data folder (--data) that every user can walk to, or run as a user of your own."
    )


def child_setup(death_signal: signal.Signals, identity: Identity | None = None) -> Callable[[], None]:
    """A `preexec_fn`: becomes `identity`, then asks for `death_signal` when the parent dies (Linux).

    The signal is asked for last, since a change of user clears it. It comes when the *thread* that forked ends,
    so fork from one that lives as long as the process.
    """
    parent = os.getpid()

    def setup() -> None:
        if identity is not None:
            _become(identity)
        if _LIBC is not None:
            _call("prctl", _PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before we could ask
                os._exit(1)

    return setup


def _choose_user(owned: Path | None, user: str | None) -> tuple[int, int]:
    if owned is not None and owned.exists():
        owner = owned.stat()
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
    for name in [user] if user else ["postgres", "nobody"]:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid
    raise UnprivilegedUserError(
        "PostgreSQL does not run as root, and there is no user "
        + (f"{user!r}" if user else "'postgres' or 'nobody'")
        + f" to run it as. Set {USER_SETTING} to a user of this machine other than root."
    )


def _can_reach(path: Path, uid: int, gid: int) -> bool:
    """Whether the user may walk every folder above `path`."""
    for folder in path.resolve().parents:
        status = folder.stat()
        if status.st_uid == uid:
            needed = stat.S_IXUSR
        elif status.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _effective_capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _become(identity: Identity) -> None:
    if identity.capability is not None:
        _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if identity.capability is not None:
        mask = 1 << identity.capability
        header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
        # effective, permitted, inheritable: of capabilities 0 to 31, then of 32 to 63
        sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        _call("capset", header, sets)
        _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, identity.capability, 0, 0)


def _call(name: str, *arguments: object) -> None:
    if _LIBC is None or getattr(_LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name} failed: {os.strerror(ctypes.get_errno())}")
