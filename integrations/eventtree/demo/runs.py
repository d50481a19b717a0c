"""The three programs that are recorded: a LangChain chain, a LangGraph agent and a LlamaIndex query engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_index.core
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import PromptTemplate, VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode

from eventtree.demo.embedding import WordEmbedding
from eventtree.demo.language import INSTRUCTION, PROMPT, tokens
from eventtree.demo.library import Passage
from eventtree.demo.models import Models
from eventtree.langchain import CallbackHandler

PASSAGES = 4
"""Number of passages that a retriever finds."""
AGENT_INSTRUCTION = (
    "Always search the documents before you answer. Answer with a sentence of the passages that the search returns, "
    "name its file in square brackets, and add nothing of your own. Before you answer, count the words of your draft "
    "with the tool for it, and end the answer with that number in round brackets, as in (12 words)."
)  # fmt: skip


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
