"""The journal: append-only logs on disk (or in memory) that are the queue, the cursors of vendors, and dead letters.

    FOLDER/                       0700
      salt                        32 bytes, so that a key's fingerprint differs between journals; behind it the salts of
                                  processes that could not read it
      PROCESS.0000.log            what a process recorded; rolled by size to .0001.log, …
      PROCESS.alive               locked as long as that process lives
      NAME.FINGERPRINT.cursor     how far a vendor got, its sums, values learned from its replies
      NAME.FINGERPRINT.dead       dead letters: items the vendor refused, with its words, and their later fates
      NAME.FINGERPRINT.lock       held by the process that ships to that vendor
      cleared                     grows with each `eventtree clear`

All files are 0600. Every line of a log, a cursor and a dead-letter file has one form: `crc32 seq json\\n`; crc32 is of
the json, begun with seq, in 8 hex digits; seq counts up by one. So flipped bytes, cuts and gaps are found and counted.
All functions here may raise OSError where the disk refuses; their docstrings do not repeat it.
"""

from eventtree.journal.files import DiskFiles, Files, MemoryFiles
from eventtree.journal.journal import Journal, open_journal
from eventtree.journal.line import Damage, LineReader, frame

__all__ = ["Damage", "DiskFiles", "Files", "Journal", "LineReader", "MemoryFiles", "frame", "open_journal"]
