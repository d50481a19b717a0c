"""Failures and cuts inside eventtree: each is counted, and each kind of failure is logged once."""

from __future__ import annotations

import dis
import functools
import logging
import re
import signal
import traceback
from collections import Counter
from contextvars import ContextVar
from types import CodeType, WrapperDescriptorType

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that move a terminal's cursor, end a line or reverse the text after them, and lone surrogates."""
SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: object) -> str:
    """Foreign text made safe for a terminal, a log line or a report: one line, without control characters.

    They are escaped as JSON escapes them, so that a line of JSON keeps its meaning.
    """
    return UNSEEN.sub(lambda found: SHORT.get(found[0]) or _escaped(found[0]), str(text))


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


class OneLine(logging.Filter):
    """Makes the arguments of our log lines safe, as `shown` does; the formats are ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record on."""
        if isinstance(record.args, tuple):
            record.args = tuple(one if isinstance(one, int | float) else shown(one) for one in record.args)
        return True


logger = logging.getLogger("eventtree")
logger.addFilter(OneLine())

failures: Counter[str] = Counter()
"""Kind of failure → how often, since the process started. With the setting `strict` they are raised too."""

truncations: Counter[str] = Counter()
"""Field of `Bounds` → how often it cut less than an event: part of a value, of a reply, an open run's entry."""

unreplicated = 0
"""Trees whose end was not acknowledged in time by a relay's engine, where `durable` asks for it."""

RAISES = frozenset({dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]})
"""Instructions of a `raise` statement."""

_own: ContextVar[bool] = ContextVar("eventtree_own", default=False)
"""A context variable, since a forked child's threads reuse thread ids, and greenlets share a thread's variables."""


def mark_delivery_thread() -> None:
    """Mark this thread as one that delivers. Events that the app's instrumentation or log handler makes of its requests
    are counted, never recorded: each request would make an event, and each event a request.
    """
    _own.set(True)


def is_delivery_thread() -> bool:
    """Whether this thread is one of those."""
    return _own.get()


MODULE_OF = type.__dict__["__module__"].__get__
QUALNAME_OF = type.__dict__["__qualname__"].__get__
DICT_OF = type.__dict__["__dict__"].__get__
MRO_OF = type.__dict__["__mro__"].__get__
name_of = type.__dict__["__name__"].__get__
"""Name of a class, as Python has it: a metaclass may answer for `__name__` with code of its own."""


def qualified(kind: type) -> str:
    """`module.Class`, read without running a metaclass's code; builtins go without a module."""
    module, name = MODULE_OF(kind), QUALNAME_OF(kind)
    if type(module) is not str or module == "builtins":
        return str(name)
    return f"{module}.{name}"


def class_name(value: object) -> str:
    """Name of an object's class."""
    return str(name_of(type(value)))


ARGS_OF = BaseException.__dict__["args"].__get__
CHEAP = frozenset({str, bytes, int, float, bool, type(None)})
"""Classes whose repr is Python's own, and quick."""


def message_of(error: BaseException) -> str:
    """The text of an exception, or a placeholder where its own code fails."""
    try:
        return text_of(error)
    except BaseException as broken:
        if must_pass(broken):
            raise
        return f"<{qualified(type(error))} whose message cannot be read>"


def text_of(error: BaseException) -> str:
    """The text of an exception; raises what its own code raises.

    An exception without `__str__` would show the repr of its arguments, which may query a database or never return. So
    arguments of the app's classes are shown by the name of their class.
    """
    namespaces = map(DICT_OF, MRO_OF(type(error)))
    own = next(names["__str__"] for names in namespaces if "__str__" in names)
    args = ARGS_OF(error)
    if type(own) is not WrapperDescriptorType or CHEAP.issuperset(map(type, args)):
        return str.__str__(str(error))
    shown = [one if type(one) is str else _named(one) for one in args]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def _named(value: object) -> str:
    return repr(value) if type(value) in CHEAP else f"<{qualified(type(value))}>"


def failed(where: str, error: BaseException, at: str = "", then: str = "this record may be missing") -> None:
    """Count a failure; log the first of its kind, without anything the user passed.

    `at` is the place, by default the line that raised; `then` is the consequence.
    """
    kind = f"{where}: {QUALNAME_OF(type(error))}"
    failures[kind] += 1
    if failures[kind] == 1:
        try:
            logger.warning("%s in %s at %s. Your app is unaffected; %s", kind, where, at or line_of(error), then)
        except Exception:  # noqa: BLE001  (the app's own log handlers run here, within the callback that failed)
            failures["log handler"] += 1


def line_of(error: BaseException, module: str = "") -> str:
    """File and line where an exception was raised: the innermost of `module`, if its traceback has one."""
    lines = [(frame, f"{frame.f_code.co_filename}:{line}") for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for frame, place in lines if module and frame.f_globals.get("__name__") == module]
    return (own or [place for _, place in lines] or ["unknown place"])[-1]


def described(error: BaseException, module: str = "") -> str:
    """An exception of the app's or a vendor's code in one line for its author: class, text and place."""
    return f"{QUALNAME_OF(type(error))}: {message_of(error)} at {line_of(error, module)}"


class Warnings:
    """Warnings about one vendor: each kind is logged the first time only."""

    def __init__(self, vendor: str) -> None:
        """Start with nothing logged."""
        self._vendor = vendor
        self._logged: set[str] = set()

    def __call__(self, kind: str, text: str, value: object) -> None:
        """Log `text`, with `value` filled in, unless something of its kind was logged before."""
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning(f"%s {text}", self._vendor, value)


def must_pass(error: BaseException) -> bool:
    """Whether an exception caught in our code is meant for the app, which must get it.

    KeyboardInterrupt, SystemExit and the like are, where a signal handler raised them or they arrived between two
    instructions (Ctrl-C, a killed thread). One raised by the code of a recorded value costs only that value.
    """
    trace = error.__traceback__
    if isinstance(error, Exception) or trace is None:
        return not isinstance(error, Exception)
    handlers = {code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    is_handlers = trace.tb_frame.f_code in handlers
    while trace.tb_next is not None:
        trace = trace.tb_next
        is_handlers = is_handlers or trace.tb_frame.f_code in handlers
    frame = trace.tb_frame
    if is_handlers or str(frame.f_globals.get("__name__", "")).partition(".")[0] == "eventtree":
        return True
    raised = not RAISES.isdisjoint(frame.f_code.co_code[trace.tb_lasti : trace.tb_lasti + 1])
    # Where no `raise` ran it came from outside (a greenlet killed while it waits); `sys.exit()` has none either.
    return not raised and not isinstance(error, SystemExit)


def code_of(function: object) -> CodeType | None:
    """The code that runs when a signal's handler is called."""
    while isinstance(function, functools.partial):
        function = function.func
    found = getattr(function, "__code__", None)
    if found is None and callable(function):
        found = getattr(type(function).__call__, "__code__", None)
    return found if isinstance(found, CodeType) else None


def place_of(function: object) -> str:
    """A function of the app, for a line of the log: its name, file and line, or its class if it has no code."""
    code = code_of(function)
    return class_name(function) if code is None else f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
