"""Every token counts once, whatever stands around the call that used it: real chains, real clients, both frameworks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from eventtree.event import EventTree
from eventtree.kinds import Kind, Status
from eventtree.testing import capture
from tests.usage import bodies
from tests.usage.served import Answer, Provider

pytest.importorskip("langchain_openai")

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import ChatResult

PRICE = Decimal("0.0001512")
"""Of one answer with `bodies.OPENAI_USAGE` by gpt-4o-mini."""
REFUSED = Answer(b'{"error": {"message": "later", "type": "server_error"}}', status=500)


def chat(served: Provider, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4o-mini", api_key="sk-x", base_url=f"{served.url}/v1", max_retries=0, **more)


def llama(served: Provider, **more: Any) -> Any:
    openai = pytest.importorskip("llama_index.llms.openai", exc_type=ImportError)
    return openai.OpenAI(model="gpt-4o-mini", api_key="sk-x", api_base=f"{served.url}/v1", max_retries=0, **more)


def answered(served: Provider, count: int = 1) -> None:
    served.answers.clear()
    served.will(*[bodies.openai(bodies.OPENAI_USAGE)] * count)


def sums(tree: EventTree) -> tuple[int | None, Decimal | None]:
    return tree.total_tokens, tree.total_usd


class Wrapper(BaseChatModel):
    """A class of the user's around another model: it hands the inner message on, with its usage."""

    inner: Any

    @property
    def _llm_type(self) -> str:
        return "wrapper"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> ChatResult:
        from langchain_core.outputs import ChatGeneration

        message = self.inner.invoke(messages)
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_wrapper_and_its_leaf(served: Provider) -> None:
    """C7: both messages carry the tokens, the leaf's event has them."""
    answered(served)
    with capture() as trees:
        Wrapper(inner=chat(served)).invoke("Hello")
    (tree,) = trees
    assert sums(tree) == (1280, PRICE)
    assert [(event.name, event.usage is not None) for event in tree.events] == [
        ("Wrapper", False), ("ChatOpenAI", True),
    ]  # fmt: skip


def test_a_wrapper_and_its_leaf_in_a_chain(served: Provider) -> None:
    """C7: LangChain tells the leaf the chain as its parent; the message they share tells that it is one answer."""
    from langchain_core.output_parsers import StrOutputParser

    answered(served)
    with capture() as trees:
        (Wrapper(inner=chat(served)) | StrOutputParser()).invoke("Hello")
    (tree,) = trees
    assert sums(tree) == (1280, PRICE)
    assert {event.name for event in tree.events if event.usage is not None} == {"ChatOpenAI"}


async def test_an_async_wrapper_and_its_leaf_in_a_chain(served: Provider) -> None:
    """C7."""
    from langchain_core.output_parsers import StrOutputParser

    answered(served)
    async with httpx.AsyncClient() as client:
        with capture() as trees:
            await (Wrapper(inner=chat(served, http_async_client=client)) | StrOutputParser()).ainvoke("Hello")
    (tree,) = trees.wait()
    assert sums(tree) == (1280, PRICE)


def test_equal_answers_one_after_the_other_are_two(served: Provider) -> None:
    """C7: the server's bodies have one id, and each of them was paid."""
    model = chat(served)
    answered(served, 2)
    with capture() as trees:
        (model | (lambda message: message.content) | model).invoke("Hello")
    (tree,) = trees
    assert sums(tree) == (2560, 2 * PRICE)


def test_langchain_inside_llama_index(served: Provider) -> None:
    """C7: a LlamaIndex model that asks a LangChain model, each recorded by its own framework."""
    llms = pytest.importorskip("llama_index.core.llms", exc_type=ImportError)
    from llama_index.core.llms.callbacks import llm_completion_callback

    class Bridge(llms.CustomLLM):
        inner: Any

        @property
        def metadata(self) -> Any:
            return llms.LLMMetadata(model_name="bridge")

        @llm_completion_callback()
        def complete(self, prompt: str, formatted: bool = False, **more: Any) -> Any:
            message = self.inner.invoke(prompt)
            usage = message.response_metadata["token_usage"]
            return llms.CompletionResponse(text=message.content, raw={"usage": usage})

        @llm_completion_callback()
        def stream_complete(self, prompt: str, formatted: bool = False, **more: Any) -> Any:
            raise NotImplementedError

    answered(served)
    with capture() as trees:
        Bridge(inner=chat(served)).complete("Hello")
    (tree,) = trees
    assert [event.kind for event in tree.events] == [Kind.MODEL, Kind.MODEL]
    assert sums(tree) == (1280, PRICE)


def test_llama_index_inside_langchain(served: Provider) -> None:
    """C7: the other way round, with a chain between."""
    from langchain_core.runnables import RunnableLambda

    model = llama(served)
    answered(served)
    with capture() as trees:
        (RunnableLambda(lambda text: str(model.complete(text))) | RunnableLambda(str.upper)).invoke("Hello")
    (tree,) = trees
    assert sums(tree) == (1280, PRICE)


def test_a_fallback_counts_each_attempt(served: Provider) -> None:
    """C7: one that failed used nothing that anybody knows; one that answered before a later step failed is paid."""
    answered(served)
    served.answers.appendleft(REFUSED)
    with capture() as trees:
        chat(served).with_fallbacks([chat(served)]).invoke("Hello")
    (tree,) = trees
    models = [event for event in tree.events if event.kind is Kind.MODEL]
    assert [(event.status, event.usage is not None) for event in models] == [(Status.ERROR, False), (Status.OK, True)]
    assert sums(tree) == (1280, PRICE)


def test_a_retry_counts_each_attempt(served: Provider) -> None:
    """C7: two answers were paid, though the first could not be parsed."""
    from langchain_core.runnables import RunnableLambda

    parsed: list[str] = []

    def parse(message: Any) -> str:
        parsed.append(message.content)
        if len(parsed) == 1:
            raise ValueError("not what was wanted")
        return str(message.content)

    answered(served, 2)
    chain = (chat(served) | RunnableLambda(parse)).with_retry(
        stop_after_attempt=2, wait_exponential_jitter=False, retry_if_exception_type=(ValueError,)
    )
    with capture() as trees:
        chain.invoke("Hello")
    assert (sum(tree.total_tokens or 0 for tree in trees), sum(tree.total_usd or 0 for tree in trees)) == (
        2560, 2 * PRICE,
    )  # fmt: skip


def test_a_batch_counts_each_of_its_inputs(served: Provider) -> None:
    """C6: each input's own."""
    answered(served, 3)
    with capture() as trees:
        chat(served).batch(["a", "b", "c"])
    assert [sums(tree) for tree in trees.wait(3)] == [(1280, PRICE)] * 3


@pytest.mark.filterwarnings("ignore:Unexpected type for token usage")
def test_generate_with_several_prompts_counts_each_of_them(served: Provider) -> None:
    """C6: llm_output is the sum of the batch and stands beside each of its runs."""
    answered(served, 2)
    with capture() as trees:
        chat(served).generate([[HumanMessage("a")], [HumanMessage("b")]])
    assert [sums(tree) for tree in trees] == [(1280, PRICE)] * 2


def test_n_generations_of_one_request(served: Provider) -> None:
    """C6: their usage came once."""
    served.answers.clear()
    served.will(bodies.openai(bodies.OPENAI_USAGE, n=3))
    with capture() as trees:
        chat(served, n=3).generate([[HumanMessage("a")]])
    assert [sums(tree) for tree in trees] == [(1280, PRICE)]


def called(name: str, arguments: str = "{}") -> dict[str, Any]:
    """An answer that calls a tool."""
    body = bodies.openai(bodies.OPENAI_USAGE)
    call = {"id": "t1", "type": "function", "function": {"name": name, "arguments": arguments}}
    body["choices"] = [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "", "tool_calls": [call]},
        }
    ]
    return body


def test_an_agents_rounds_are_summed_once(served: Provider) -> None:
    """C7: messages with their usage pass through the state of every node of the graph."""
    agents = pytest.importorskip("langchain.agents")

    def weather() -> str:
        """Say the weather."""
        return "fine"

    served.answers.clear()
    served.will(called("weather"), bodies.openai(bodies.OPENAI_USAGE))
    with capture() as trees:
        agents.create_agent(chat(served), tools=[weather]).invoke({"messages": [("user", "How is the weather?")]})
    (tree,) = trees
    assert sums(tree) == (2560, 2 * PRICE)
    assert {event.kind for event in tree.events if event.usage is not None} == {Kind.MODEL}


async def test_a_llama_index_agents_rounds_are_summed_once(served: Provider) -> None:
    """C7, C8: workflows too; what the agent hands on has the raw answer in it."""
    workflow = pytest.importorskip("llama_index.core.agent.workflow", exc_type=ImportError)

    def weather() -> str:
        """Say the weather."""
        return "fine"

    served.answers.clear()
    served.will(called("weather"), bodies.openai(bodies.OPENAI_USAGE))
    async with httpx.AsyncClient() as client:
        agent = workflow.FunctionAgent(tools=[weather], llm=llama(served, async_http_client=client), streaming=False)
        with capture() as trees:
            await agent.run("How is the weather?")
    (tree,) = trees.wait()
    assert sums(tree) == (2560, 2 * PRICE)
    assert {event.kind for event in tree.events if event.usage is not None} == {Kind.MODEL}


def test_an_answer_from_the_cache_in_a_chain_is_free(served: Provider) -> None:
    """C4: cost 0, marked, and its tokens are not used again."""
    from langchain_core.caches import InMemoryCache
    from langchain_core.output_parsers import StrOutputParser

    answered(served)
    chain = chat(served, cache=InMemoryCache()) | StrOutputParser()
    with capture() as trees:
        for _ in range(2):
            chain.invoke("Hello")
    first, second = (next(event for event in tree.events if event.kind is Kind.MODEL) for tree in trees)
    assert [(event.usage.cached, event.cost.total_usd) for event in (first, second) if event.usage and event.cost] == [
        (False, PRICE), (True, Decimal(0)),
    ]  # fmt: skip
    assert [tree.total_usd for tree in trees] == [PRICE, Decimal(0)]
