"""`LogHandler`: a `logging.Handler` that adds each log line to the notes of the run in which it was logged.

    logging.getLogger("my_app").addHandler(eventtree.LogHandler())

The notes are named `log`; Humanloop shows them as `stdout`. Lines that are logged outside of recorded runs, by this
package, or by delivery's threads are ignored, and so are all lines in runs of handlers with `content=False`.
"""

from __future__ import annotations

import logging

from eventtree import diagnostics
from eventtree.recording.around import around
from eventtree.recording.recorder import recorder

NOTE = "log"
"""The name of the notes."""


class LogHandler(logging.Handler):
    """A logging handler that adds each line (level, logger and text) to the notes of the run around it."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Handle a line like any handler, but without the handler's lock: recording has its own.

        With both locks, a thread that logs and a thread in which a `__del__` logs while a record is written could wait
        for each other.
        """
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line; never raises."""
        if record.name.partition(".")[0] == "eventtree" or diagnostics.is_delivery_thread():
            return
        try:
            _, run = around()
            if run is not None and run.pipelines[0].content:
                value = {"level": record.levelname, "logger": record.name, "line": self.format(record)}
                recorder.note(run.id, NOTE, value)
        except BaseException as error:
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed("log", error)
