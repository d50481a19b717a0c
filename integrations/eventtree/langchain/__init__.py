"""The way in for LangChain and LangGraph: a handler for `config={"callbacks": [...]}`, or one for the whole process."""

from eventtree.langchain.global_handler import global_handler, set_global_handler
from eventtree.langchain.handler import CallbackHandler

__all__ = ["CallbackHandler", "global_handler", "set_global_handler"]
