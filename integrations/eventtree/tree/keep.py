"""`keep=`: which trees a vendor gets, by a function of the app's or by words, judged when the tree is whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from eventtree import diagnostics
from eventtree.errors import ConfigError
from eventtree.event import EventTree
from eventtree.tree.filter import SINCE, TEXT, UNTIL, VENDOR, Filter

WITHOUT = (VENDOR, SINCE, UNTIL, TEXT)
"""Words that would say another thing at another time, or in a replay; and a text without quotes, which a rule that
nobody looks at has by mistake: `cost > 1`, `a AND b`.
"""


def judge_of(keep: Any, setting: str = "keep") -> Callable[[EventTree], bool] | None:
    """What judges a tree; None where all are kept. One that raises has kept the tree: nothing is lost by a fault of it.

    Raises:
        ConfigError: a word is wrong, or it is neither words nor a function that answers at once.
    """
    if keep is None:
        return None
    try:
        test = Filter.parse(keep, without=WITHOUT).matches if isinstance(keep, str) else keep
    except ConfigError as error:
        raise ConfigError(setting, error.problem, error.hint) from None
    called = getattr(test, "__call__", None)  # noqa: B004  (an object may be called like a function)
    if called is None or inspect.iscoroutinefunction(test) or inspect.iscoroutinefunction(called):
        problem = "a coroutine cannot judge" if called else "it is no function"
        raise ConfigError(setting, problem, "Give a function from the tree to True or False, or words")

    def judge(tree: EventTree) -> bool:
        try:
            return bool(test(tree))
        except Exception as error:  # noqa: BLE001  (the app's function runs here)
            diagnostics.failed("keep", error)
            return True

    return judge
