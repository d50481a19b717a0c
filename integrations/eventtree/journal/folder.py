"""A folder of logs, the same for every process that uses it: its logs, their living writers, and its salt."""

from __future__ import annotations

import re
from functools import lru_cache

from eventtree.journal.files import Files
from eventtree.journal.relayed import ENDED, is_collected
from eventtree.record import VERSION

SALT_BYTES = 32
HEADER_BYTES = 512
"""The longest first line of a log."""
LOG_NAME = re.compile(r"(.*?)(?:\.(\d+))?\.log")
"""A log's name: its process, and its number."""
MADE_BY = re.compile(rb'"eventtree":(\d+)')


class Folder:
    """The logs in a folder (or in memory). Logs of a newer format are neither read nor removed."""

    process = ""
    """The name under which this process writes."""

    def __init__(self, files: Files) -> None:
        """Use `files`; nothing is written."""
        self.files = files
        self.verified: dict[str, tuple[str, list[tuple[int, int]]]] = {}
        """Logs whose bytes matched their checksum when they were last counted: see `counts.py`."""
        self._salt: bytes | None = None
        self._is_salt_kept = True
        self._newer: dict[str, bool] = {}
        self._listing: tuple[list[str], list[str]] = ([], [])
        """The files at the last listing, and the logs among them."""

    @property
    def salt(self) -> bytes:
        """The journal's salt for fingerprints of keys. It is no secret, but must be the same in every process.

        So where the disk refuses, a process uses the salt that every process would create in this folder.
        """
        if is_collected(self.files):
            return b""  # a collector's vendors are known by name alone
        if self._salt is None:
            try:
                self._salt = self._kept_salt(self.files.identity())
            except OSError:
                self._salt, self._is_salt_kept = self.files.identity(), False
        return self._salt

    @property
    def salts(self) -> list[bytes]:
        """The journal's salt, and those of processes that could not read it: a full disk, a folder with two paths."""
        kept = self.files.read("salt", 0)
        whole = range(SALT_BYTES, len(kept) + 1, SALT_BYTES)
        return [kept[end - SALT_BYTES : end] for end in whole]

    def _kept_salt(self, fresh: bytes) -> bytes:
        if self.files.size("salt") < SALT_BYTES:
            # Two processes may do this at once: both then use the bytes that came first.
            self.files.append("salt", fresh)
        return self.files.read("salt", 0, SALT_BYTES)

    def _keep_salt(self) -> None:
        """If the file begins with another salt, add ours: trees recorded with ours must stay recognizable."""
        if self._salt is None:
            return
        try:
            self._kept_salt(self._salt)
            if self._salt not in self.salts:
                self.files.append("salt", self._salt)
            self._is_salt_kept = True
        except OSError:
            self._is_salt_kept = False

    def is_alive(self, process: str) -> bool:
        """Whether a process may still write its logs."""
        if process == self.process:
            return True
        if is_collected(self.files) and f"{process}.alive" not in self.files.names():
            return self.files.size(process + ENDED) == 0  # it runs elsewhere
        try:
            lock = self.files.lock(f"{process}.alive")
        except OSError:
            return True
        if lock is None:
            return True
        lock.release()
        return False

    def logs(self) -> list[str]:
        """The logs of all processes, oldest process first; those of one process in the order it wrote them."""
        return [name for name in self.all_logs() if not self.is_newer(name)]

    def newer_logs(self) -> list[str]:
        """Logs of a later version, which are left untouched."""
        return [name for name in self.all_logs() if self.is_newer(name)]

    def all_logs(self) -> list[str]:
        """Logs of any version, in the order of `logs`. The list is the same object while the files are the same."""
        names = self.files.names()
        known, logs = self._listing
        if names is not known:
            # By number, not by text: `.10000.log` comes after `.9999.log`.
            found = filter(None, map(LOG_NAME.fullmatch, names))
            logs = [one[0] for one in sorted(found, key=lambda one: (one[1], int(one[2] or 0)))]
            self._listing = (names, logs)
        return logs

    def is_newer(self, name: str) -> bool:
        known = self._newer.get(name)
        if known is None:
            try:
                first, newline, _ = self.files.read(name, 0, HEADER_BYTES).partition(b"\n")
            except OSError:
                return False
            made_by = MADE_BY.search(first)
            known = made_by is not None and int(made_by[1]) > VERSION
            if newline or len(first) == HEADER_BYTES:
                self._newer[name] = known
        return known


@lru_cache(maxsize=1024)
def process_of(log: str) -> str:
    """The process that wrote a log."""
    return log.rsplit(".", 2)[0]


def number_of(log: str) -> int:
    """The number of a log among those of its process."""
    found = LOG_NAME.fullmatch(log)
    return int(found[2] or 0) if found is not None else 0
