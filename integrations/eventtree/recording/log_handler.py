"""Log lines of a run: a `logging.Handler` that notes each line on the run it was logged in.

    logging.getLogger("my_app").addHandler(eventtree.LogHandler())

Lines stand in the run's notes under `log`; Humanloop shows them as `stdout`. What is logged outside of any recorded
run, by this package, or by the threads that deliver, is left alone. Nothing is noted of handlers with `content=False`.
"""

from __future__ import annotations

import logging

from eventtree import diagnostics
from eventtree.recording.around import around
from eventtree.recording.recorder import recorder

NOTE = "log"
"""The name of the notes."""


class LogHandler(logging.Handler):
    """A logging handler that adds each line (level, logger and text) to the notes of the run it was logged in."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Handle a line as any handler does, but without the handler's lock, since recording has its own.

        With both locks two threads could wait for each other: one that logs, and one in which a `__del__` logs while a
        record is written.
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
