"""Classifies spans by the classes of their object (by path, nothing is imported) and by their method: tables.

A name alone proves nothing (a chain called `travel_agent_prompt` is a chain), so only the framework's classes and their
subclasses count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from eventtree.content.objects import Path, class_path, nearest
from eventtree.content.walk import MAX_KINDS
from eventtree.event import Kind
from eventtree.remembered import Remembered

T = TypeVar("T")

MAX_FACTS = 4 * MAX_KINDS
"""A class has several methods that are spans."""

LLM, EMBEDDER, RETRIEVER, RERANKER, TOOL, AGENT, WORKFLOW, PARSER, FRAMEWORK = (
    "llm", "embedder", "retriever", "reranker", "tool", "agent", "workflow", "parser", "framework",
)  # fmt: skip

FILTERS = (
    ("node", "SimilarityPostprocessor"),
    ("node", "KeywordNodePostprocessor"),
    ("node", "PrevNextNodePostprocessor"),
    ("node", "AutoPrevNextNodePostprocessor"),
    ("node", "LongContextReorder"),
    ("metadata_replacement", "MetadataReplacementPostProcessor"),
    ("node_recency", "FixedRecencyPostprocessor"),
    ("node_recency", "EmbeddingRecencyPostprocessor"),
    ("node_recency", "TimeWeightedPostprocessor"),
    ("optimizer", "SentenceEmbeddingOptimizer"),
    ("pii", "PIINodePostprocessor"),
    ("pii", "NERPIINodePostprocessor"),
)
"""Postprocessors of the framework that do not score nodes."""

FAMILIES: Mapping[Path, str] = {
    # It wraps another model.
    ("llama_index.core.llms.structured_llm", "StructuredLLM"): FRAMEWORK,
    ("llama_index.core.base.llms.base", "BaseLLM"): LLM,
    ("llama_index.core.multi_modal_llms.base", "MultiModalLLM"): LLM,
    ("llama_index.core.base.embeddings.base", "BaseEmbedding"): EMBEDDER,
    ("llama_index.core.base.embeddings.base_sparse", "BaseSparseEmbedding"): EMBEDDER,
    ("llama_index.core.base.base_retriever", "BaseRetriever"): RETRIEVER,
    **{(f"llama_index.core.postprocessor.{module}", name): FRAMEWORK for module, name in FILTERS},
    ("llama_index.core.postprocessor.types", "BaseNodePostprocessor"): RERANKER,
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

INTEGRATIONS = (
    "llama_index.llms.",
    "llama_index.embeddings.",
    "llama_index.multi_modal_llms.",
    "llama_index.postprocessor.",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of every span of one class and name. Slots, because each span reads most of them."""

    kind: Kind
    family: str
    name: str
    """The recorded name: `Class.method`, or the method alone for a function or a workflow's step."""
    method: str
    """The method's name in the code."""
    verb: str
    """The method's name without underscores and the `a` of async."""
    provider: str | None
    known: Mapping[str, Any]
    """Fields of its open record."""
    is_model: bool
    is_tool: bool
    has_settings: bool
    """Whether its object holds the settings of a service."""
    names_agent: bool
    """Whether its object or its event may name the running agent."""
    is_plumbing: bool
    is_private: bool


BUILT_IN = frozenset({str, int, float, bool, bytes, dict, list, tuple, set, type(None)})
"""Types that are in no table."""


def by_class(table: Mapping[Path, T]) -> Remembered[type, T | None]:
    """Class → the entry of `table` for it or the nearest class it inherits from."""
    return Remembered(MAX_KINDS, lambda kind: nearest(kind, table), begin=dict.fromkeys(BUILT_IN))


def _find(asked: tuple[type | None, str]) -> Facts:
    kind, name = asked
    method = name.rpartition(".")[2]
    family = "" if kind is None else nearest(kind, FAMILIES) or _framework(kind)
    bare = method.strip("_")
    short = bare.removeprefix("a")
    verb = bare if (family, bare) in KINDS or (family, short) not in KINDS else short
    what, provider = KINDS.get((family, verb), Kind.CHAIN), _provider(kind)
    return Facts(
        what, family, method if kind is None else name, method, verb, provider,
        known={} if provider is None else {"provider": provider},
        is_model=what is Kind.MODEL,
        is_tool=what is Kind.TOOL,
        has_settings=what in (Kind.MODEL, Kind.EMBEDDING, Kind.RERANKER),
        names_agent=kind is None or family == AGENT,
        is_plumbing=(family, verb) in PLUMBING,
        is_private=method[:1] == "_" != method[1:2],
    )  # fmt: skip


FACTS: Remembered[tuple[type | None, str], Facts] = Remembered(MAX_FACTS, _find)
"""Class of the object (None for a plain function or a workflow's step) and name of a span → its facts."""


def _framework(kind: type) -> str:
    return FRAMEWORK if any(module.startswith("llama_index.") for module in modules(kind)) else "other"


def _provider(kind: type | None) -> str | None:
    for module in modules(kind or type(None)):
        for prefix in INTEGRATIONS:
            if module.startswith(prefix):
                name = module[len(prefix) :].partition(".")[0]
                return PROVIDERS.get(name, name)
    return None


def modules(cls: type) -> list[str]:
    """The modules of a class and of its bases, nearest first."""
    return [str(class_path(each)[0]) for each in cls.__mro__]
