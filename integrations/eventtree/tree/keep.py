"""`keep=`: which trees a vendor gets, by a function of the app's or by words, judged when the tree is whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventtree import diagnostics
from eventtree.errors import ConfigError
from eventtree.event import EventTree
from eventtree.tree.filter import Filter

Judge = Callable[[EventTree], bool]
WITHOUT = ("vendor", "since", "until")
"""Words that would say another thing at another time, or in a replay."""


def judge_of(keep: Any, setting: str = "keep") -> Judge | None:
    """What judges a tree; None where all are kept. One that raises has kept the tree: nothing is lost by a fault of it.

    Raises:
        ConfigError: a word is wrong, or it is neither words nor a function.
    """
    if keep is None:
        return None
    test: Judge = _chosen_by(keep, setting) if isinstance(keep, str) else keep

    def judge(tree: EventTree) -> bool:
        try:
            return bool(test(tree))
        except Exception as error:  # noqa: BLE001  (the app's function runs here)
            diagnostics.failed("keep", error)
            return True

    return judge


def _chosen_by(words: str, setting: str) -> Judge:
    try:
        return Filter.parse(words, without=WITHOUT).matches
    except ConfigError as error:
        problem, _, hint = str(error).partition(": ")[2].partition(". ")
        raise ConfigError(setting, problem, hint) from None
