"""LangChain and LangGraph: a handler for `config={"callbacks": [...]}`, or one for the whole process."""

from eventtree.errors import without_extra

try:
    from eventtree.langchain.global_handler import global_handler, set_global_handler
    from eventtree.langchain.handler import CallbackHandler
except ImportError as error:
    raise without_extra("langchain", error) from None

__all__ = ["CallbackHandler", "global_handler", "set_global_handler"]
