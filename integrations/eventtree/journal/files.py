"""The disk behind one small object, so that faults can be injected and the same journal runs in memory.

Callbacks write from the event loop's thread. Async servers may run under a detector of blocking calls (`langgraph dev`
does), which replaces the names in `os` by ones that raise where a loop is running; a record would be lost. So an append
(3 µs, to the page cache) calls `posix` itself, and what happens once a log hides the loop meanwhile (`without_loop`).
"""

from __future__ import annotations

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
"""Windows would write every newline as two characters. No flag keeps children out: Python opens nothing for them."""
APPEND_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | BINARY | getattr(os, "O_NOFOLLOW", 0)
IDENTITY_BYTES = 32

LISTED_SECONDS = 10.0
"""A listing of the folder is kept this long at most, and made anew as soon as the folder has changed."""
TICK_NS = 100_000_000
"""No disk's clock is coarser."""
UNSURE = "?"
"""Begins the mark of a file that may have been written to since, within the same tick."""


Data = bytes | tuple[bytes, ...]
"""What is appended, in one piece or in some that are not to be copied."""


def joined(data: Data) -> bytes:
    """It in one piece."""
    return data if isinstance(data, bytes) else b"".join(data)


writev = getattr(system, "writev", lambda fd, data: os.write(fd, joined(data)))
"""Writes several pieces at once; Windows has none."""

_FOLDERS: set[str] = set()


def _keep_quiet(folder: str) -> None:
    """Keep what filelock logs of this folder's locks from the app's handlers.

    It logs where the journal's own lock is held; a handler that records would wait for that lock with its own.
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
        """Let go of it."""


class Files(Protocol):
    """A flat folder of append-only files. Every method may raise OSError."""

    def append(self, name: str, data: Data) -> None:
        """Add `data` at the end, all of it or nothing; makes the file if it is not there."""

    def read(self, name: str, offset: int, size: int | None = None) -> bytes:
        """Up to `size` bytes (default: all) from `offset`, of one state of the file whatever replaces it meanwhile;
        none where there is no such file (another process may remove it).
        """

    def size(self, name: str) -> int:
        """Length in bytes; 0 where there is no such file."""

    def changed_at(self, name: str) -> float:
        """When it was written last, in seconds since the epoch; `inf` where nobody knows, 0 where there is no file."""

    def mark(self, name: str) -> str:
        """What changes whenever the file is written to; `UNSURE` at its beginning where a change might go unseen."""

    def names(self) -> list[str]:
        """All files, sorted; none where there is no folder any more. Not to be changed: it may be given out again."""

    def replace(self, name: str, data: bytes) -> None:
        """Make `name` hold exactly `data`, in one step."""

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Put `data` over bytes that are there already."""

    def remove(self, name: str) -> None:
        """Delete; no error where there is none."""

    def lock(self, name: str) -> Held | None:
        """Take the lock of that name for this process, or None while somebody else holds it."""

    def forget(self) -> None:
        """Close what is open (after a fork: without disturbing the parent)."""

    def identity(self) -> bytes:
        """32 bytes that are the same for everybody who uses this folder, even while the disk refuses everything."""


class DiskFiles(Files):
    """Files in a folder: 0600 in 0700. Appends go by one `write` to a descriptor that stays open."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made if missing.

        Raises:
            JournalError: it is a symlink, somebody else's, open to others, or cannot be written.
        """
        import filelock  # noqa: F401  (slow, so not with the module; and not within the first callback, which locks)

        self.folder = folder
        self._at = f"{folder}{os.sep}"
        self._open: dict[str, int] = {}
        self._guard = RLock()
        self._listed: tuple[int, list[str], float] = (0, [], 0.0)
        """When the folder had changed last as it was listed, what was in it, and when that was."""
        _make_private(folder)

    def append(self, name: str, data: Data) -> None:
        """A short write is cut off again, so that no torn line stands before the next."""
        fd = self._open.get(name)
        if fd is None:
            fd = self._descriptor(name)
        try:
            if isinstance(data, bytes):
                size, written = len(data), system.write(fd, data)
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
            os.lseek(fd, offset, os.SEEK_SET)  # no `pread`: Windows has none, and nobody else knows this descriptor
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
                # A change within the same tick of the disk's clock would go unseen.
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
        # Somebody may have deleted the folder: filelock would make it anew, open to others.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self.folder / name, mode=0o600, thread_local=False, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def forget(self) -> None:
        self._guard = RLock()
        for name in list(self._open):
            self._close(name)

    @without_loop
    def identity(self) -> bytes:
        """By the folder's path, which processes share that share a folder."""
        return blake2b(os.fsencode(os.path.realpath(self.folder)), digest_size=IDENTITY_BYTES).digest()

    def _descriptor(self, name: str) -> int:
        with self._guard:
            if name not in self._open:
                try:
                    self._open[name] = os.open(self._at + name, APPEND_FLAGS, 0o600)
                except FileNotFoundError:
                    # Somebody has deleted the folder.
                    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._open[name] = os.open(self._at + name, APPEND_FLAGS, 0o600)
            return self._open[name]

    def _close(self, name: str) -> None:
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)


class MemoryFiles(Files):
    """The same in memory: what a process without a disk uses, and tests."""

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
        """After a fork the child starts empty: what the parent holds in memory is the parent's to send."""
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
    """Refuse a file of another user, or a link to elsewhere: it is neither read nor written."""
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
    """An empty folder somebody made beforehand is taken over; one with files in it is not touched."""
    if any(folder.iterdir()):
        raise JournalError(f"journal {folder}: others may read it. Run: chmod 700 {folder}")
    folder.chmod(0o700)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "Name a writable folder with journal= or EVENTTREE_JOURNAL, or journal=':memory:'"
        raise JournalError(f"journal {folder}: {error.strerror}. {hint}") from error
