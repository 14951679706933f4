"""UNIX sockets: who may connect, and what may be in their place."""

import grp
import os
import pwd
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

_log = structlog.get_logger()

USUAL_GROUP: Final = "postfix"
"""Whose processes connect, where nothing else is said."""


class SocketInUse(OSError):
    """The path of the UNIX socket belongs to something else; the message says to what."""


@dataclass(frozen=True)
class SocketAccess:
    """Of a UNIX socket: ``mode``, and ``group``, by name, as ``option`` says; "" for the ``usual`` one where there is
    such a group, else our own."""

    mode: int = 0o660
    group: str = ""
    usual: str = USUAL_GROUP
    option: str = "--unix-group"


def listen(path: Path, access: SocketAccess) -> socket.socket:
    """A socket that listens there, and takes the place of one that nobody listens on; it does not block.

    Raises SocketInUse, ValueError (there is no such group), OSError.
    """
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    try:
        who = give(path, access)
    except (ValueError, OSError):
        listener.close()
        path.unlink()
        raise
    _log.info("socket_open", path=str(path), who=who)
    listener.setblocking(False)
    return listener


def give(path: Path, access: SocketAccess) -> str:
    """Sets group and mode; returns who may connect, in words.

    Raises ValueError (there is no such group), OSError (we may not give it to that group).
    """
    try:
        number = grp.getgrnam(access.group or access.usual).gr_gid
    except KeyError:
        if access.group:
            raise ValueError(f"{access.option}: there is no group {access.group!r} on this host") from None
        number = -1
    try:
        os.chown(path, -1, number)
    except PermissionError as error:
        if access.group:
            why = (
                f"cannot be given to the group {access.group}: {error.strerror}; run as one of its members, or as root"
            )
            raise PermissionError(error.errno, why, str(path)) from None
        _log.warning("socket_kept", path=str(path), group=access.usual, error=str(error), next=f"see {access.option}")
    path.chmod(access.mode)
    return _who(path)


def _who(path: Path) -> str:
    status = path.stat()
    user, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    may = [f"the user {user}"] * bool(status.st_mode & stat.S_IWUSR)
    may += [f"members of the group {group}"] * bool(status.st_mode & stat.S_IWGRP)
    may += ["everybody on this host"] * bool(status.st_mode & stat.S_IWOTH)
    return ", ".join([*may, "root"])


def _name(look_up: object, number: int) -> str:
    try:
        return str(look_up(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)


def remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on. Raises SocketInUse for anything else that is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketInUse(f"{path} exists and is no socket; remove it or choose another path")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink()
    else:
        raise SocketInUse(f"{path}: another process is listening there; stop it first")
    finally:
        probe.close()
