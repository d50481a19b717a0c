"""The journal's files, on disk or in memory, behind one small interface, so that tests can inject faults.

Callbacks write from the event loop's thread. Async servers may run under a detector of blocking calls (`langgraph dev`
does), which replaces functions of `os` by ones that raise where a loop is running; a record would be lost. So an append
(3 µs, to the page cache) calls `posix` directly, and rarer calls hide the loop (`without_loop`).
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Protocol

from eventtree.errors import JournalError
from eventtree.loop import without_loop

try:
    import posix as system
except ImportError:  # Windows
    system = os  # type: ignore[misc]

BINARY: int = getattr(os, "O_BINARY", 0)
"""Without it, Windows writes every newline as two characters."""
APPEND_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | BINARY | getattr(os, "O_NOFOLLOW", 0)
IDENTITY_BYTES = 32

LISTED_SECONDS = 10.0
"""A listing of the folder is used for so long at most, and only until the folder changes."""
TICK_NS = 100_000_000
"""Resolution of the coarsest clock of a disk."""
UNSURE = "?"
"""Begins the mark of a file that was changed so recently that a further change might have the same time."""

Data = bytes | tuple[bytes, ...]
"""Bytes to append, in one piece or in several, which are then not copied."""


def joined(data: Data) -> bytes:
    """The bytes in one piece."""
    return data if isinstance(data, bytes) else b"".join(data)


write = system.write
writev = getattr(system, "writev", lambda fd, data: os.write(fd, joined(data)))
"""Writes several pieces at once; Windows has none."""

_FOLDERS: set[str] = set()


def _keep_quiet(folder: str) -> None:
    """Keep filelock's log lines about this folder from the app's log handlers.

    filelock logs while the journal's own lock is held. A handler that records would wait for that lock: a deadlock.
    """
    if not _FOLDERS:
        logging.getLogger("filelock").addFilter(_is_foreign)
    _FOLDERS.add(folder)


def _is_foreign(line: logging.LogRecord) -> bool:
    names = line.args if isinstance(line.args, tuple) else ()
    return not any(isinstance(name, str) and name.startswith(tuple(_FOLDERS)) for name in names)


class Held(Protocol):
    """A lock that this process has."""

    def release(self) -> None:
        """Give it up."""


class Files(Protocol):
    """A flat folder of append-only files. Every method may raise OSError."""

    def append(self, name: str, data: Data) -> None:
        """Add `data` at the end, all of it or nothing; the file is created if needed."""

    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        """Up to `size` bytes (default: all) from `offset`, of one state of the file even if it is replaced meanwhile;
        none if there is no such file (another process may remove it).
        """

    def size(self, name: str) -> int:
        """Length in bytes; 0 if there is no such file."""

    def changed_at(self, name: str) -> float:
        """When it was last written, in seconds since the epoch; `inf` if unknown, 0 if there is no such file."""

    def mark(self, name: str) -> str:
        """A text that changes with every write; it begins with `UNSURE` while another write might not change it."""

    def names(self) -> list[str]:
        """All files, sorted; none if the folder is gone. Do not change the list: the next call may return it again."""

    def replace(self, name: str, data: bytes) -> None:
        """Make `name` hold exactly `data`, in one step."""

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Put `data` over existing bytes."""

    def remove(self, name: str) -> None:
        """Delete a file; no error if there is none."""

    def lock(self, name: str) -> Held | None:
        """Take a lock for this process; None while another process holds it."""

    def forget(self) -> None:
        """Close all open files, as after a fork; the parent's stay open."""

    def identity(self) -> bytes:
        """32 bytes that are the same in every process that uses this folder, even while the disk refuses everything."""


class DiskFiles(Files):
    """Files in a folder: 0600 in 0700. Appends go by one `write` to a descriptor that stays open."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made if missing.

        Raises:
            JournalError: it is a symlink, somebody else's, open to others, or cannot be written.
        """
        import filelock  # noqa: F401  (slow, so neither with this module nor in the first callback, which locks)

        self.folder = folder
        self._at = f"{folder}{os.sep}"
        self._open: dict[str, int] = {}
        self._guard = RLock()
        self._listed: tuple[int, list[str], float] = (0, [], 0.0)
        """The folder's time of change when it was listed, the files in it, and the time of the listing."""
        _make_private(folder)

    def append(self, name: str, data: Data) -> None:
        """A short write is cut off again, so that no torn line precedes the next."""
        fd = self._open.get(name)
        if fd is None:
            fd = self._descriptor(name)
        try:
            if isinstance(data, bytes):
                size, written = len(data), write(fd, data)
            else:
                size, written = sum(map(len, data)), writev(fd, data)
        except OSError:
            self._close(name)
            raise
        if written != size:
            os.ftruncate(fd, os.fstat(fd).st_size - written)
            self._close(name)
            raise OSError(28, "short write", name)

    @without_loop
    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        try:
            fd = os.open(self._at + name, os.O_RDONLY | BINARY)
        except FileNotFoundError:
            return b""
        try:
            wanted = max(0, os.fstat(fd).st_size - offset) if size is None else size
            os.lseek(fd, offset, os.SEEK_SET)  # no `pread`: Windows has none, and no other thread has this descriptor
            return os.read(fd, wanted)
        finally:
            os.close(fd)

    @without_loop
    def size(self, name: str) -> int:
        try:
            return os.stat(self._at + name).st_size  # noqa: PTH116  (called often: no Path objects)
        except FileNotFoundError:
            return 0

    @without_loop
    def changed_at(self, name: str) -> float:
        try:
            return os.stat(self._at + name).st_mtime  # noqa: PTH116  (as above)
        except FileNotFoundError:
            return 0.0

    @without_loop
    def mark(self, name: str) -> str:
        try:
            found = os.stat(self._at + name)  # noqa: PTH116  (as above)
        except FileNotFoundError:
            return UNSURE
        changed = max(found.st_mtime_ns, found.st_ctime_ns)
        is_old = abs(time.time_ns() - changed) > TICK_NS
        return f"{'' if is_old else UNSURE}{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"

    @without_loop
    def names(self) -> list[str]:
        try:
            changed = os.stat(self.folder).st_mtime_ns  # noqa: PTH116  (called often: no Path objects)
            known, names, looked = self._listed
            now = time.monotonic()
            if changed != known or now - looked > LISTED_SECONDS:
                names = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False))
                # Another change within the same tick of the disk's clock would have the same time.
                is_old = abs(time.time_ns() - changed) > TICK_NS
                self._listed = (changed if is_old else 0, names, now)
            return names
        except FileNotFoundError:
            return []

    @without_loop
    def replace(self, name: str, data: bytes) -> None:
        fresh = self.folder / f"{name}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            os.close(fd)
            fresh.unlink(missing_ok=True)  # a full disk needs the room
            raise
        os.close(fd)
        self._close(name)
        fresh.replace(self.folder / name)

    @without_loop
    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        fd = os.open(self._at + name, os.O_WRONLY | BINARY)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            os.write(fd, data)
        finally:
            os.close(fd)

    @without_loop
    def remove(self, name: str) -> None:
        self._close(name)
        (self.folder / name).unlink(missing_ok=True)

    @without_loop
    def lock(self, name: str) -> Held | None:
        """The system frees it when the process dies, however it dies."""
        from filelock import FileLock, Timeout

        _keep_quiet(f"{self.folder}{os.sep}")
        # The folder may have been deleted: filelock would create it readable for others.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self.folder / name, mode=0o600, thread_local=False, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        except (NotImplementedError, Warning) as error:
            # The file system has no locks: filelock raises the one, or warns where the app makes warnings errors.
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error
        return lock

    def forget(self) -> None:
        self._guard = RLock()
        for name in list(self._open):
            self._close(name)

    @without_loop
    def identity(self) -> bytes:
        """A hash of the folder's path, which is the same in all processes that use it."""
        return blake2b(os.fsencode(os.path.realpath(self.folder)), digest_size=IDENTITY_BYTES).digest()

    def _descriptor(self, name: str) -> int:
        with self._guard:
            if name not in self._open:
                try:
                    self._open[name] = os.open(self._at + name, APPEND_FLAGS, 0o600)
                except FileNotFoundError:
                    # The folder has been deleted.
                    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._open[name] = os.open(self._at + name, APPEND_FLAGS, 0o600)
            return self._open[name]

    def _close(self, name: str) -> None:
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)


class MemoryFiles(Files):
    """Files in memory, for tests and processes without a disk."""

    def __init__(self) -> None:
        """Start empty."""
        self._files: dict[str, bytearray] = {}
        self._identity = secrets.token_bytes(IDENTITY_BYTES)
        self._locks: set[str] = set()

    def append(self, name: str, data: Data) -> None:
        self._files.setdefault(name, bytearray()).extend(joined(data))

    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        return bytes(self._files.get(name, b"")[offset : None if size is None else offset + size])

    def size(self, name: str) -> int:
        return len(self._files.get(name, b""))

    def changed_at(self, name: str) -> float:
        return float("inf") if name in self._files else 0.0

    def mark(self, name: str) -> str:
        return UNSURE

    def names(self) -> list[str]:
        return sorted(self._files)

    def replace(self, name: str, data: bytes) -> None:
        self._files[name] = bytearray(data)

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        self._files[name][offset : offset + len(data)] = data

    def remove(self, name: str) -> None:
        self._files.pop(name, None)

    def lock(self, name: str) -> Held | None:
        if name in self._locks:
            return None
        self._locks.add(name)
        return _MemoryLock(self._locks, name)

    def forget(self) -> None:
        """After a fork the child starts empty: the parent sends what is in its memory."""
        self._files.clear()
        self._locks.clear()

    def identity(self) -> bytes:
        return self._identity


class _MemoryLock:
    def __init__(self, locks: set[str], name: str) -> None:
        self._locks = locks
        self._name = name

    def release(self) -> None:
        self._locks.discard(self._name)


@without_loop
def _make_private(folder: Path) -> None:
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise JournalError(f"journal {folder}: it is a symlink. Name the folder it points to")
        if not stat.S_ISDIR(found.st_mode):
            raise JournalError(f"journal {folder}: it is not a folder. Name another with journal= or EVENTTREE_JOURNAL")
        if hasattr(os, "getuid") and found.st_uid != os.getuid():
            raise JournalError(f"journal {folder}: it belongs to another user. Name a folder of your own")
        if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
            _tighten(folder)
        _refuse_others(folder)


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that has a symlink or a file of another user in it: neither may be read or written."""
    for path in folder.iterdir():
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # another process of ours has just removed it
        if stat.S_ISLNK(found.st_mode):
            raise JournalError(f"journal {folder}: {path.name} in it is a symlink. Remove it")
        if hasattr(os, "getuid") and found.st_uid != os.getuid():
            raise JournalError(f"journal {folder}: {path.name} in it belongs to another user. Remove it")


def _tighten(folder: Path) -> None:
    """Make an empty folder private; refuse one with files in it, which are not ours to hide."""
    if any(folder.iterdir()):
        raise JournalError(f"journal {folder}: others may read it. Run: chmod 700 {folder}")
    folder.chmod(0o700)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        hint = "Name a writable folder with journal= or EVENTTREE_JOURNAL, or journal=':memory:'"
        raise JournalError(f"journal {folder}: {getattr(error, 'strerror', error)}. {hint}") from error
