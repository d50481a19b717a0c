"""Searching a journal: an index that finds trees without reading all logs, for `show`, `ls`, `trees` and the viewer.

with Index(journal) as index:
    page = index.search(Filter.parse("status:error since:1h"), limit=50)
    tree = index.tree(page.rows[0].id)
"""

from eventtree.query.index import Index
from eventtree.query.opened import Opened
from eventtree.query.row import TreeRow
from eventtree.query.search import Page

__all__ = ["Index", "Opened", "Page", "TreeRow"]
