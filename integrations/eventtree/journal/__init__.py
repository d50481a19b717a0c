"""The journal: append-only logs on disk (or in memory) that are the queue, the cursors of vendors, and dead letters.

    FOLDER/                       0700
      salt                        32 bytes: keys' fingerprints differ from journal to journal; behind it those of
                                  processes that could not have it
      PROCESS.0000.log            what a process recorded; rolled by size to .0001.log, …
      PROCESS.alive               locked as long as that process lives
      NAME.FINGERPRINT.cursor     how far a vendor got, its sums, what was learned from its replies
      NAME.FINGERPRINT.dead       what that vendor refused, with its words, and what became of refused ones since
      NAME.FINGERPRINT.lock       held by whoever ships to that vendor
      cleared                     grows with each `eventtree clear`

All files are 0600. Every line of a log, a cursor and a dead-letter file has one form: `crc32 seq json\\n`; crc32 is of
the json, begun with seq, in 8 hex digits; seq counts up by one. So a flipped byte, a cut, a gap are seen and counted.
Whatever reads or writes here raises OSError where the disk refuses; docstrings say more only where more is known.
"""

from eventtree.journal.files import DiskFiles, Files, MemoryFiles
from eventtree.journal.journal import Journal, open_journal
from eventtree.journal.line import Damage, LineReader, frame

__all__ = ["Damage", "DiskFiles", "Files", "Journal", "LineReader", "MemoryFiles", "frame", "open_journal"]
