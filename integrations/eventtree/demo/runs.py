"""The three recorded programs (a LangChain chain, a LangGraph agent, a LlamaIndex query engine) and their models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import llama_index.core
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import PromptTemplate, VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.llms import LLM
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode

from eventtree.demo.chat_model import DocumentChatModel
from eventtree.demo.embedding import WordEmbedding
from eventtree.demo.language import INSTRUCTION, PROMPT, Passage, tokens
from eventtree.demo.llm import DocumentLLM
from eventtree.errors import ConfigError
from eventtree.langchain import CallbackHandler

PASSAGES = 4
"""Number of passages that a retriever finds."""
AGENT_INSTRUCTION = (
    "Always search the documents before you answer. Answer with a sentence of the passages that the search returns, "
    "name its file in square brackets, and add nothing of your own. Before you answer, count the words of your draft "
    "with the tool for it, and end the answer with that number in round brackets, as in (12 words)."
)  # fmt: skip


class Models(NamedTuple):
    """A model for each framework."""

    chat: BaseChatModel
    llm: LLM


def choose(model: str | None) -> Models:
    """The built-in models, or those of `openai:NAME`.

    Raises:
        ConfigError: a class for them is missing, or does not know the name.
    """
    if model is None:
        return Models(DocumentChatModel(streaming=True), DocumentLLM())
    name = model.removeprefix("openai:")
    try:
        from langchain_openai import ChatOpenAI
        from llama_index.llms.openai import OpenAI
    except ImportError as error:
        hint = "Run pip install 'eventtree[all]' llama-index-llms-openai"
        raise ConfigError("--model", f"{error.name} is not installed", hint) from error
    # LlamaIndex's class asks for no usage of its own accord when it streams.
    llm = OpenAI(model=name, additional_kwargs={"stream_options": {"include_usage": True}})
    try:
        _ = llm.metadata
    except ValueError as error:
        hint = "Give a model that llama-index-llms-openai knows, such as openai:gpt-4o-mini, or update that package"
        raise ConfigError("--model", f"LlamaIndex does not know {name!r}", hint) from error
    return Models(ChatOpenAI(model=name, streaming=True, stream_usage=True), llm)


def ask_chain(question: str, library: Sequence[Passage], models: Models, handler: CallbackHandler) -> str:
    """Retriever ‖ passthrough → prompt → streaming model → parser."""
    prompt = ChatPromptTemplate.from_messages([("system", INSTRUCTION), ("human", PROMPT)])
    context = (retriever(library) | _as_context).with_config(run_name="passages")
    chain: Runnable[str, str] = (
        {"context": context, "question": RunnablePassthrough()} | prompt | models.chat | StrOutputParser()
    ).with_config(run_name="chain")
    return "".join(chain.stream(question, config={"callbacks": [handler]}))


def ask_agent(question: str, library: Sequence[Passage], models: Models, handler: CallbackHandler) -> str:
    """A LangGraph agent that searches the documents and counts the words of its draft."""
    agent: Any = create_agent(
        models.chat, agent_tools(retriever(library)), system_prompt=AGENT_INSTRUCTION, name="librarian"
    )
    state = agent.invoke({"messages": [("user", question)]}, config={"callbacks": [handler]})
    return str(state["messages"][-1].text)


def ask_query_engine(question: str, engine: RetrieverQueryEngine) -> str:
    """A LlamaIndex query; the global handler records it."""
    response = engine.query(question)
    if isinstance(response, StreamingResponse):
        return "".join(response.response_gen)
    return str(response)


def query_engine(library: Sequence[Passage], models: Models) -> RetrieverQueryEngine:
    """A streaming query engine over an index of the passages."""
    nodes = [TextNode(text=passage.text, metadata=passage.metadata) for passage in library]
    splitter = TokenTextSplitter(tokenizer=tokens)
    index = VectorStoreIndex(nodes, embed_model=WordEmbedding(), transformations=[splitter])
    prompt = PromptTemplate(PROMPT, template_var_mappings={"context_str": "context", "query_str": "question"})
    synthesizer = get_response_synthesizer(llm=models.llm, text_qa_template=prompt, streaming=True)
    return RetrieverQueryEngine(index.as_retriever(similarity_top_k=PASSAGES), response_synthesizer=synthesizer)


@contextmanager
def own_tokenizer() -> Iterator[None]:
    """Let LlamaIndex measure texts with our tokenizer while the block runs: its own may have to be downloaded."""
    before = llama_index.core.global_tokenizer
    llama_index.core.global_tokenizer = tokens
    try:
        yield
    finally:
        llama_index.core.global_tokenizer = before


def retriever(library: Sequence[Passage]) -> BaseRetriever:
    """The passages in LangChain's vector store."""
    store = InMemoryVectorStore(WordEmbedding())
    store.add_documents([Document(passage.headed, metadata=passage.metadata) for passage in library])
    return store.as_retriever(search_kwargs={"k": PASSAGES})


def agent_tools(documents: BaseRetriever) -> list[BaseTool]:
    """The agent's tools."""

    @tool
    def search_documents(query: str) -> str:
        """Search the documents and return the passages that fit the query best, each with its file and title."""
        return _as_context(documents.invoke(query))

    @tool
    def count_words(text: str) -> int:
        """Count the words of a text."""
        return len(text.split())

    return [search_documents, count_words]


def _as_context(documents: list[Document]) -> str:
    return "\n\n".join(one.page_content for one in documents)
