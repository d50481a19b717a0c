"""The index's SQLite file: in the user's cache folder, or in memory where that is impossible.

It holds nothing that the logs do not hold. So it is emptied whenever it may be wrong: for another journal in the same
folder, a newer schema, cleared trees, damage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import platformdirs

from eventtree import __version__
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.trees import CLEARED
from eventtree.query.packed import has_affix, id_of
from eventtree.tree.filter import share_of

SCHEMA_VERSION = 7
"""Goes up whenever the tables, or the meaning of their values, change."""
BUSY_SECONDS = 5.0
"""The longest wait for another process that fills the same index; it writes a log at a time."""
MEMORY = ":memory:"
ENDINGS = ("", "-wal", "-shm")
MOST_FILES = 24
"""Indexes kept for one user, of different journals, prices and versions; the least recently used are deleted."""

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA secure_delete = ON;
PRAGMA cache_size = -32768;
CREATE TABLE IF NOT EXISTS about (id INTEGER PRIMARY KEY, key TEXT);
CREATE TABLE IF NOT EXISTS logs (id INTEGER PRIMARY KEY, name TEXT UNIQUE, upto INTEGER);
CREATE TABLE IF NOT EXISTS ids (id PRIMARY KEY, tree INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (tree INTEGER, log INTEGER, at INTEGER, places BLOB, PRIMARY KEY (tree, log, at))
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verified (log TEXT PRIMARY KEY, mark TEXT, places TEXT);
CREATE TABLE IF NOT EXISTS stale (tree INTEGER PRIMARY KEY, id);
CREATE TABLE IF NOT EXISTS shapes (id INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS trees (
    tree INTEGER PRIMARY KEY, id, shape INTEGER, events INTEGER, errors INTEGER, tokens INTEGER, usd, unpriced INTEGER,
    duration REAL, feedback INTEGER, session TEXT, user TEXT
);
"""
"""`tree` is a tree's number, `id` its stored id, `places` those of its lines: see `packed.py`. A tree in `stale` has
lines that are not in its row. `verified` is `Journal.verified`.
"""


def file_of(journal: Journal, prices: str | None) -> str:
    """The file of a journal's index for these prices; in memory for a journal in memory, or prices without a name."""
    if not isinstance(journal.files, DiskFiles) or prices is None:
        return MEMORY
    made_of = blake2b(f"{SCHEMA_VERSION} {__version__} {prices}".encode(), digest_size=4).hexdigest()
    return str(_folder() / f"{_name_of(journal.files)}-{made_of}.sqlite")


def forget(journal: Journal) -> None:
    """Delete a journal's indexes, so that nothing of cleared trees stays there."""
    if isinstance(journal.files, DiskFiles):
        for file in _folder().glob(f"{_name_of(journal.files)}-*"):
            with suppress(OSError):
                file.unlink()


def key_of(journal: Journal) -> str:
    """Identifies the state that an index was filled from; an index with another key is emptied."""
    return f"{journal.salt.hex()} {journal.files.size(CLEARED)}"


def connect(file: str, key: str) -> sqlite3.Connection:
    """A connection to the index, emptied if it has another key; in memory if `file` cannot be used."""
    for _ in range(2):
        try:
            return _connect(file, key)
        except (sqlite3.DatabaseError, OSError) as error:
            if file == MEMORY:
                raise
            if isinstance(error, OSError):
                break
            if not is_busy(error) and not discard(file):
                break
    return _connect(MEMORY, key)


def discard(file: str) -> bool:
    """Delete an index's file; False where the disk refuses."""
    with suppress(OSError):
        for ending in ENDINGS if file != MEMORY else ():
            Path(f"{file}{ending}").unlink(missing_ok=True)
        return True
    return False


def is_busy(error: Exception) -> bool:
    """Whether another process is writing the index, which is not damaged then."""
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that writes."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def _folder() -> Path:
    return platformdirs.user_cache_path("eventtree", appauthor=False)


def _tidy(folder: Path) -> None:
    with suppress(FileNotFoundError):  # another process tidies too
        by_use = sorted(((path.stat().st_mtime, path) for path in folder.glob("*.sqlite")), reverse=True)
        for _, path in by_use[MOST_FILES:]:
            discard(str(path))


def _name_of(files: DiskFiles) -> str:
    return blake2b(str(files.folder.resolve()).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _connect(file: str, key: str) -> sqlite3.Connection:
    if file != MEMORY:
        Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(file).touch(mode=0o600)  # its time says when it was last used
        _tidy(Path(file).parent)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.create_function("share_of", 1, lambda stored: share_of(id_of(stored)), deterministic=True)
        connection.create_function("has_affix", 2, has_affix, deterministic=True)
        connection.executescript(SCHEMA)
        if not has_key(connection, key):  # asked first: emptying waits for a process that fills the index
            _empty(connection, key)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def has_key(connection: sqlite3.Connection, key: str) -> bool:
    """Whether the index was filled from the state with this key."""
    return bool(connection.execute("SELECT key FROM about").fetchone() == (key,))


def _empty(connection: sqlite3.Connection, key: str) -> None:
    with transaction(connection):
        if has_key(connection, key):
            return  # another process was quicker
        for table in ("about", "logs", "verified", "ids", "lines", "stale", "shapes", "trees"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("INSERT INTO about VALUES (1, ?)", (key,))
