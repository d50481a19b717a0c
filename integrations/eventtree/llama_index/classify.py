"""Classifies spans by the classes of their object (by path, nothing is imported) and by their method: tables.

A name alone proves nothing (a chain called `travel_agent_prompt` is a chain), so only the framework's classes and their
subclasses count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from eventtree.content.objects import Path, class_path, nearest
from eventtree.content.walk import MAX_KINDS
from eventtree.kinds import Kind
from eventtree.remembered import Remembered

T = TypeVar("T")

LLM, EMBEDDER, RETRIEVER, RERANKER, TOOL, AGENT, WORKFLOW, PARSER, FRAMEWORK = (
    "llm", "embedder", "retriever", "reranker", "tool", "agent", "workflow", "parser", "framework",
)  # fmt: skip

POSTPROCESSORS = "llama_index.core.postprocessor."
"""Package of the framework's own postprocessors: those in its modules named after reranking score nodes."""

FAMILIES: Mapping[Path, str] = {
    # It wraps another model.
    ("llama_index.core.llms.structured_llm", "StructuredLLM"): FRAMEWORK,
    ("llama_index.core.base.llms.base", "BaseLLM"): LLM,
    ("llama_index.core.multi_modal_llms.base", "MultiModalLLM"): LLM,
    ("llama_index.core.base.embeddings.base", "BaseEmbedding"): EMBEDDER,
    ("llama_index.core.base.embeddings.base_sparse", "BaseSparseEmbedding"): EMBEDDER,
    ("llama_index.core.base.base_retriever", "BaseRetriever"): RETRIEVER,
    (f"{POSTPROCESSORS}types", "BaseNodePostprocessor"): RERANKER,
    ("llama_index.core.tools.types", "BaseTool"): TOOL,
    ("llama_index.core.agent.workflow.base_agent", "BaseWorkflowAgent"): AGENT,
    ("llama_index.core.agent.workflow.multi_agent_workflow", "AgentWorkflow"): AGENT,
    ("workflows.workflow", "Workflow"): WORKFLOW,
    ("llama_index.core.node_parser.interface", "NodeParser"): PARSER,
}
"""Class path → family. The first listed class in the MRO decides."""

KINDS: Mapping[tuple[str, str], Kind] = {
    **{(LLM, method): Kind.MODEL for method in ("chat", "complete", "stream_chat", "stream_complete")},
    **{
        (EMBEDDER, f"get_{what}{number}"): Kind.EMBEDDING
        for what in ("query_embedding", "text_embedding", "image_embedding")
        for number in ("", "s", "_batch")
    },
    (RETRIEVER, "retrieve"): Kind.RETRIEVER,
    (RERANKER, "postprocess_nodes"): Kind.RERANKER,
    (TOOL, "call"): Kind.TOOL,
    (AGENT, "run"): Kind.AGENT,
}
"""(family, method without underscores and the `a` of async) → kind. All others are chains."""

PLUMBING = frozenset({(LLM, "prepare_chat_with_tools"), (PARSER, "split_text"), (PARSER, "split_texts"),
                      (PARSER, "split_text_metadata_aware"), ("", "run_jobs"), ("", "worker")})  # fmt: skip
"""(family, method) of spans that show nothing new below another span; "" is a plain function."""

WRAPPERS = frozenset({"predict", "apredict", "stream", "astream"})
"""Methods of a model that only format a prompt and call another method of it."""

REPORTING = frozenset({"stream_structured_predict", "astream_structured_predict"})
"""Methods that return a stream and report its end by an event."""

PROVIDERS: Mapping[str, str | None] = {
    "azure_openai": "azure",
    "bedrock_converse": "aws",
    "bedrock": "aws",
    "google_genai": "google",
    "gemini": "google",
    "vertex": "google",
    "mistralai": "mistral",
    "openai_like": None,
}
"""Name of the integration (`llama_index.llms.NAME`) → provider, where they differ."""

INTEGRATIONS = tuple(f"llama_index.{kind}." for kind in ("llms", "embeddings", "multi_modal_llms", "postprocessor"))

BUILT_IN = frozenset({str, int, float, bool, bytes, dict, list, tuple, set, type(None)})
"""Types that are in no table."""


def by_class(table: Mapping[Path, T]) -> Remembered[type, T | None]:
    """Class → the entry of `table` for it or the nearest class it inherits from."""
    return Remembered(MAX_KINDS, lambda kind: nearest(kind, table), begin=dict.fromkeys(BUILT_IN))


def _provider(modules: list[str]) -> str | None:
    for module in modules:
        for prefix in INTEGRATIONS:
            if module.startswith(prefix):
                name = module[len(prefix) :].partition(".")[0]
                return PROVIDERS.get(name, name)
    return None


def modules(cls: type) -> list[str]:
    """The modules of a class and of its bases, nearest first."""
    return [str(class_path(each)[0]) for each in cls.__mro__]


class Facts:
    """The facts of every span of one class (None for a plain function or a workflow's step) and name.

    Slots, because each span reads most of them.
    """

    __slots__ = (
        "family", "has_settings", "is_model", "is_plumbing", "is_private", "is_tool", "kind", "known", "method", "name",
        "names_agent", "provider", "verb",
    )  # fmt: skip

    def __init__(self, asked: tuple[type | None, str]) -> None:
        """Look the class and the method up in the tables."""
        cls, name = asked
        self.method = name.rpartition(".")[2]
        self.name = self.method if cls is None else name
        """The recorded name: `Class.method`, or the method alone for a function or a workflow's step."""
        found = [] if cls is None else modules(cls)
        is_framework = any(module.startswith("llama_index.") for module in found)
        self.family = "" if cls is None else nearest(cls, FAMILIES) or (FRAMEWORK if is_framework else "other")
        own = next((module for module in found if module.startswith(POSTPROCESSORS)), "")
        if self.family == RERANKER and own != f"{POSTPROCESSORS}types" and "rerank" not in own.lower():
            self.family = FRAMEWORK  # it filters or sorts
        bare = self.method.strip("_")
        short = bare.removeprefix("a")
        self.verb = bare if (self.family, bare) in KINDS or (self.family, short) not in KINDS else short
        """The method's name without underscores and the `a` of async."""
        self.kind = KINDS.get((self.family, self.verb), Kind.CHAIN)
        self.provider = _provider(found)
        self.known: Mapping[str, Any] = {} if self.provider is None else {"provider": self.provider}
        """Fields of its open record."""
        self.is_model = self.kind is Kind.MODEL
        self.is_tool = self.kind is Kind.TOOL
        self.has_settings = self.kind in (Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER)
        """Whether its object holds the settings of a service."""
        self.names_agent = cls is None or self.family == AGENT
        """Whether its object or its event may name the running agent."""
        self.is_plumbing = (self.family, self.verb) in PLUMBING
        self.is_private = self.method[:1] == "_" != self.method[1:2]


FACTS: Remembered[tuple[type | None, str], Facts] = Remembered(4 * MAX_KINDS, Facts)
"""Class of the object and name of a span → its facts. A class has several methods that are spans."""
