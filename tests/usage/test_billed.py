"""What is billed besides the tokens of the model: a unit with its fee, a factor, or a problem that is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from eventtree import config
from eventtree.event import Cost, Event, Usage
from eventtree.pricing.pricer import Pricer
from eventtree.testing import capture
from eventtree.usage.collect import Listed, usage_in
from eventtree.usage.normalize import normalize
from tests.usage import bodies
from tests.usage.conftest import Asked
from tests.usage.served import Provider
from tests.usage.test_clients import KEY, chat_openai, langchain

pytest.importorskip("langchain_openai")

AUDIO_MODEL = "gpt-4o-audio-preview"

Json = dict[str, Any]
AT = datetime(2026, 11, 1, tzinfo=UTC)


def priced(raw: Json, model: str, provider: str, inputs: Any = None) -> tuple[Usage, Cost]:
    """The usage of a record, and its cost by the public prices."""
    usage = normalize(raw, inputs, model)
    assert usage is not None
    return usage, Pricer().price(usage, model=model, provider=provider, at=AT) or Cost()


# Calls of the provider's own tools

TOKENS = {**bodies.RESPONSES_USAGE, "input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}
TOKENS |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
IN_TOKENS = (Decimal(2) * 1000 + Decimal(8) * 200) / 1_000_000
"""gpt-4.1: 2 a million in, 8 out."""


def search(number: int, action: str = "search") -> Json:
    more = {"search": {"query": f"q{number}"}, "open_page": {"url": "https://a.example"}}.get(action, {})
    return {"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": {"type": action, **more}}


def file_search(number: int) -> Json:
    return {"type": "file_search_call", "id": f"fs_{number}", "status": "completed", "queries": ["q"], "results": None}


def code(number: int, container: str) -> Json:
    more = {"code": "1", "outputs": None, "container_id": container, "status": "completed"}
    return {"type": "code_interpreter_call", "id": f"ci_{number}", **more}


def drawn() -> Json:
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="}


def answer(*items: Json) -> Json:
    body = bodies.responses(TOKENS) | {"model": "gpt-4.1-2025-04-14"}
    return body | {"output": [*items, *body["output"]]}


def events(body: Json) -> list[Json]:
    """The answer, streamed."""
    found: list[Json] = [{"type": "response.created", "response": body | {"output": [], "status": "in_progress"}}]
    for place, item in enumerate(body["output"]):
        about = {"output_index": place, "item": item}
        found.append({"type": "response.output_item.added", **about})
        if item["type"] == "message":
            delta = {"output_index": place, "content_index": 0, "item_id": item["id"], "delta": "Hi.", "logprobs": []}
            found.append({"type": "response.output_text.delta", **delta})
        found.append({"type": "response.output_item.done", **about})
    found.append({"type": "response.completed", "response": body})
    return [one | {"sequence_number": number} for number, one in enumerate(found)]


HOSTED: dict[str, tuple[list[Json], dict[str, int], Decimal | None]] = {
    "two searches": ([search(1), search(2)], {"web_searches": 2}, Decimal("0.02")),
    "a page opened": ([search(1), search(2, "open_page")], {"web_searches": 1}, Decimal("0.01")),
    "a file search": ([file_search(1)], {"storage_searches": 1}, Decimal("0.0025")),
    "all of them": (
        [search(1), file_search(1), search(2), file_search(2)],
        {"web_searches": 2, "storage_searches": 2},
        Decimal("0.025"),
    ),
    "code in one container": ([code(1, "c1"), code(2, "c1")], {"code_executions": 1}, None),
    "an image": ([drawn()], {"image_generations": 1}, None),
    "nothing": ([], {}, Decimal(0)),
}


def assert_hosted(event: Event, units: dict[str, int], fees: Decimal | None) -> None:
    assert event.usage is not None and event.cost is not None
    assert event.usage.units == units
    assert event.cost.total_usd == (None if fees is None else IN_TOKENS + fees)
    assert (event.cost.input_usd, event.cost.output_usd) == (Decimal("0.002"), Decimal("0.0016"))
    assert bool(event.usage.problems) == (fees is None)


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize("version", ["v0", "responses/v1", "v1"])
@pytest.mark.parametrize(("items", "units", "fees"), HOSTED.values(), ids=HOSTED)
def test_hosted_tool_calls_are_units_through_langchain(
    served: Provider, asked: Asked, version: str, streamed: bool, items: list[Json], units: Any, fees: Decimal | None
) -> None:
    served.will(events(answer(*items)) if streamed else answer(*items))
    langchain(chat_openai(served, model="gpt-4.1", use_responses_api=True, output_version=version), streamed)
    assert_hosted(asked.event, units, fees)


@pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream_chat"])
@pytest.mark.parametrize(("items", "units", "fees"), HOSTED.values(), ids=HOSTED)
def test_hosted_tool_calls_are_units_through_llama_index(
    served: Provider, asked: Asked, streamed: bool, items: list[Json], units: Any, fees: Decimal | None
) -> None:
    pytest.importorskip("llama_index.llms.openai")
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAIResponses

    import eventtree.llama_index

    served.will(events(answer(*items)) if streamed else answer(*items))
    model = OpenAIResponses(model="gpt-4.1", api_key=KEY, api_base=f"{served.url}/v1", max_retries=0)
    eventtree.llama_index.set_global_handler(strict=True)
    try:
        if streamed:
            list(model.stream_chat([ChatMessage("Hello")]))
        else:
            model.chat([ChatMessage("Hello")])
    finally:
        eventtree.llama_index.set_global_handler(None)
    assert_hosted(asked.event, units, fees)


def test_a_users_table_without_the_fee_makes_the_total_unknown(served: Provider, asked: Asked) -> None:
    """A unit without a price."""
    config.configure(prices={"gpt-4.1*": {"input": 1, "output": 1}})
    served.will(answer(search(1)))
    langchain(chat_openai(served, model="gpt-4.1", use_responses_api=True))
    assert asked.event.usage is not None and asked.event.cost is not None
    assert (asked.event.cost.total_usd, asked.event.usage.problems) == (None, ("1 web_searches have no price",))


# Gemini's searches


def gemini(queries: list[str], **more: Any) -> Json:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 200, "totalTokenCount": 1200}
    grounding = {"webSearchQueries": queries, "groundingChunks": [{"web": {"uri": "https://a.example"}}], **more}
    return {"usageMetadata": usage, "candidates": [{"groundingMetadata": grounding, "content": {}}]}


SEARCHED = ["whales", "", "whales", "boats", " "]


def through_langchain(body: Json, model: str) -> Event:
    from langchain_core.messages import AIMessage

    from tests.usage.test_frameworks import Chain

    usage = {"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}
    grounding = body["candidates"][0]["groundingMetadata"]
    snake = {"webSearchQueries": "web_search_queries", "groundingChunks": "grounding_chunks"}
    about = {
        "grounding_metadata": {snake.get(key, key): value for key, value in grounding.items()},
        "model_name": model,
    }

    class Gemini(Chain):
        def _get_ls_params(self, *_: Any, **more: Any) -> Any:
            return {"ls_provider": "google_genai", "ls_model_name": model, "ls_model_type": "chat"}

        def _generate(self, *args: Any, **more: Any) -> Any:
            result = super()._generate(*args, **more)
            result.generations[0].message = AIMessage("Hi.", response_metadata=about, usage_metadata=usage)
            return result

    with capture() as trees:
        Gemini().invoke("Hello")
    (tree,) = trees
    return tree.root


def through_llama_index(body: Json, model: str) -> Event:
    from tests.usage.test_frameworks import ask

    with capture() as trees:
        ask(body={**body, "modelVersion": model})
    (tree,) = trees
    return tree.root


GOOGLE: list[Callable[[Json, str], Event]] = [through_langchain, through_llama_index]


@pytest.mark.parametrize("way", GOOGLE, ids=["langchain", "llama_index"])
@pytest.mark.parametrize(
    ("model", "searches", "fee"),
    [("gemini-3-flash-preview", 2, "0.028"), ("gemini-2.5-flash", 1, "0.035")],
)
def test_geminis_searches_are_units(way: Any, model: str, searches: int, fee: str) -> None:
    """Each different query that is not empty; before Gemini 3 each request."""
    event = way(gemini(SEARCHED), model)
    assert event.usage is not None and event.cost is not None
    assert event.usage.units == {"web_searches": searches}
    assert event.cost.total_usd == event.cost.input_usd + event.cost.output_usd + Decimal(fee)
    assert "whales" not in str(event.usage.raw)


@pytest.mark.parametrize("way", GOOGLE, ids=["langchain", "llama_index"])
def test_what_google_grounds_without_a_price_makes_the_total_unknown(way: Any) -> None:
    """Maps are billed by the request, pictures by the query; genai-prices has neither."""
    maps = {"groundingChunks": [{"maps": {"uri": "https://a.example"}}] * 2, "imageSearchQueries": ["a whale"]}
    event = way(gemini([], **maps), "gemini-3-flash-preview")
    assert event.usage is not None and event.cost is not None
    assert event.usage.units == {"map_groundings": 1, "image_searches": 1}
    assert event.cost.total_usd is None and len(event.usage.problems) == 2


def test_an_answer_without_a_search_costs_its_tokens() -> None:
    event = through_llama_index(gemini(["", " "]), "gemini-3-flash-preview")
    assert event.usage is not None and event.cost is not None
    assert (event.usage.units, event.cost.total_usd is None, event.usage.problems) == ({}, False, ())


def test_anthropics_server_tools_are_counted_once() -> None:
    """By `server_tool_use`, also where LangChain's blocks list the call."""
    usage = {"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 3}}
    listed = {"units": {"web_searches": 3}}
    found, cost = priced({"raw": {"usage": usage}, "listed": listed}, "claude-sonnet-4-5", "anthropic")
    assert found.units == {"web_searches": 3}
    assert cost.total_usd == Decimal("0.03") + (Decimal(3) * 10 + Decimal(15) * 5) / 1_000_000


FOUND = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_search", "input": {"query": "r"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_2",
        "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
    },
]


@pytest.mark.parametrize("way", ["stream", "stream_events"])
def test_anthropics_searches_are_charged_in_streams_too(served: Provider, asked: Asked, way: str) -> None:
    """LangChain's streams drop `server_tool_use`; the answer lists the searches, and one that failed costs nothing."""
    from tests.usage.test_clients import chat_anthropic

    counts = {"input_tokens": 100, "output_tokens": 5}
    start, *text, delta, stop = bodies.anthropic_stream(
        counts, {**counts, "server_tool_use": {"web_search_requests": 1}}
    )
    shown = [
        {"type": f"content_block_{step}", "index": place, **({"content_block": block} if step == "start" else {})}
        for place, block in enumerate(FOUND)
        for step in ("start", "stop")
    ]
    served.will([start, *shown, *({**event, "index": len(FOUND)} for event in text), delta, stop])
    langchain(chat_anthropic(served).bind_tools([{"type": "web_search_20250305", "name": "web_search"}]), way)
    usage, cost = asked.event.usage, asked.event.cost
    assert usage is not None and cost is not None
    assert (usage.units, usage.problems) == ({"web_searches": 1}, ())
    assert cost.total_usd == Decimal("0.01") + dollars(SONNET, 100, 5)


@pytest.mark.parametrize("streamed", [False, True])
def test_where_claude_was_asked_to_answer_decides_the_price_of_a_stream_too(
    served: Provider, asked: Asked, streamed: bool
) -> None:
    """LangChain's streams drop `inference_geo`; it was asked for."""
    from tests.usage.test_clients import chat_anthropic

    counts = {"input_tokens": 100, "output_tokens": 5, "inference_geo": "us"}
    body = {**bodies.anthropic(counts), "model": "claude-opus-4-6"}
    stream = bodies.anthropic_stream(counts, {"input_tokens": 100, "output_tokens": 5})
    stream[0]["message"]["model"] = "claude-opus-4-6"
    served.will(stream if streamed else body)
    langchain(chat_anthropic(served, model="claude-opus-4-6", inference_geo="us"), streamed)
    assert asked.event.cost is not None
    assert asked.event.cost.total_usd == dollars(OPUS, 100, 5) * Decimal("1.1")


UNTOLD = "service tier {} was asked for, and the client does not tell which it was"


@pytest.mark.parametrize(
    ("tier", "streamed", "problems"),
    [
        ("auto", True, (UNTOLD.format("auto"),)),
        ("auto", False, ()),  # the answer tells
        ("standard_only", True, ()),
    ],
)
def test_a_service_tier_that_a_stream_does_not_tell_is_named(
    served: Provider, asked: Asked, tier: str, streamed: bool, problems: tuple[str, ...]
) -> None:
    """LangChain's streams of Claude drop the answer's tier; with `auto` it may have been `priority`."""
    from tests.usage.test_clients import chat_anthropic

    counts = {"input_tokens": 100, "output_tokens": 5, "service_tier": "standard"}
    served.will((bodies.anthropic_stream(counts, counts)) if streamed else bodies.anthropic(counts))
    langchain(chat_anthropic(served, model_kwargs={"service_tier": tier}), streamed)
    usage, cost = asked.event.usage, asked.event.cost
    assert usage is not None and cost is not None
    assert (usage.service_tier, usage.problems) == (tier if streamed else "standard", problems)
    assert cost.total_usd == dollars(SONNET, 100, 5)


class Gemini(FakeListChatModel):
    """Drops the answer's tier, as ChatGoogleGenerativeAI does."""

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "google_genai", "ls_model_name": "gemini-2.5-flash", "ls_model_type": "chat"}

    def _call(self, *args: Any, **kwargs: Any) -> str:
        return "Hello"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        counts: Any = {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105}
        about = {"model_name": "gemini-2.5-flash"}
        message = AIMessage("Hello", usage_metadata=counts, response_metadata=about)
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize("tier", ["flex", "priority", None])
def test_the_tier_that_gemini_was_asked_for_decides_where_the_client_drops_the_answers(
    asked: Asked, tier: str | None
) -> None:
    """A priority may have been refused, which is named; flex never is."""
    model = Gemini(responses=[]).bind(service_tier=tier) if tier else Gemini(responses=[])
    langchain(model)
    event = asked.event
    assert event.usage is not None
    assert event.usage.service_tier == tier
    told = Pricer().price(
        Usage(input_tokens=100, output_tokens=5, service_tier=tier), model="gemini-2.5-flash", provider="google", at=AT
    )
    problems = (UNTOLD.format("priority"),) if tier == "priority" else ()
    assert event.usage.problems == (*problems, *(told.problems if told else ()))
    assert (event.cost and event.cost.total_usd) == (told and told.total_usd)


HOUR = {"type": "ephemeral", "ttl": "1h"}
LOST_HOUR = ("cache writes of an hour were asked for, and the client does not tell which they are",)


@pytest.mark.parametrize("place", ["block", "extras", "call", "tool", "none"])
def test_a_cache_of_an_hour_that_a_stream_does_not_tell_is_named(served: Provider, asked: Asked, place: str) -> None:
    """An hour costs more than five minutes; Anthropic's last event, which LangChain's streams go by, has the sum."""
    from eventtree.langchain import CallbackHandler
    from tests.usage.test_clients import chat_anthropic

    counts = {"input_tokens": 100, "output_tokens": 5, "cache_creation_input_tokens": 24, "cache_read_input_tokens": 0}
    served.will(bodies.anthropic_stream(counts, counts))
    marks: Json = {"block": {"cache_control": HOUR}, "extras": {"extras": {"cache_control": HOUR}}}
    block = {"type": "text", "text": "Hello", **marks.get(place, {})}
    more = {"cache_control": HOUR} if place == "call" else {}
    config: Any = {"callbacks": [CallbackHandler(strict=True)]}
    tool = {"name": "look", "description": "d", "input_schema": {"type": "object"}, "cache_control": HOUR}
    model = chat_anthropic(served).bind_tools([tool]) if place == "tool" else chat_anthropic(served)
    list(model.stream([{"role": "user", "content": [block]}], config=config, **more))
    assert asked.event.usage is not None
    assert (asked.event.usage.cache_write_tokens, asked.event.usage.problems) == (
        24,
        LOST_HOUR if place != "none" else (),
    )


# Rounds within one answer


def a_round(kind: str, sent: int = 100, answered: int = 10, **more: Any) -> Json:
    return {"type": kind, "input_tokens": sent, "output_tokens": answered, **more}


def rounds(*found: Json) -> Json:
    return {"raw": {"usage": {"input_tokens": 1000, "output_tokens": 50, "iterations": list(found)}}}


ADVISOR = a_round("advisor_message", 2000, 300, model="claude-opus-4-6", cache_read_input_tokens=0)
SONNET, OPUS = (Decimal(3), Decimal(15)), (Decimal(5), Decimal(25))


def dollars(prices: tuple[Decimal, Decimal], sent: int, answered: int) -> Decimal:
    return (prices[0] * sent + prices[1] * answered) / 1_000_000


def test_an_advisors_rounds_are_priced_by_its_own_model() -> None:
    """They are in no sum of the answer."""
    usage, cost = priced(rounds(a_round("message", 1000, 50), ADVISOR, ADVISOR), "claude-sonnet-4-5", "anthropic")
    assert (usage.input_tokens, usage.output_tokens, usage.problems) == (1000, 50, ())
    assert {model: other.total_tokens for model, other in usage.others.items()} == {"claude-opus-4-6": 4600}
    assert cost.total_usd == dollars(SONNET, 1000, 50) + 2 * dollars(OPUS, 2000, 300)
    assert cost.total_usd == cost.input_usd + cost.output_usd


def test_an_advisor_beside_a_compaction_drops_nothing() -> None:
    found = rounds(a_round("compaction", 400, 40), a_round("message", 600, 30), ADVISOR, a_round("fallback_message"))
    usage, cost = priced(found, "claude-sonnet-4-5", "anthropic")
    assert (usage.input_tokens, usage.output_tokens) == (1100, 80)
    assert cost.total_usd == dollars(SONNET, 1100, 80) + dollars(OPUS, 2000, 300)


@pytest.mark.parametrize(("model", "has_total"), [("claude-opus-4-6", True), ("nobody-knows-it", False), (None, True)])
def test_a_round_of_an_unknown_type_is_named(model: str | None, has_total: bool) -> None:
    """And priced, where its model and counts are there."""
    usage, cost = priced(rounds(a_round("dream", 10, 1, model=model)), "claude-sonnet-4-5", "anthropic")
    assert usage.problems and "(dream)" in usage.problems[0]
    assert (cost.total_usd is not None, bool(usage.others)) == (has_total, model is not None)
    if model == "claude-opus-4-6":
        assert cost.total_usd == dollars(SONNET, 1000, 50) + dollars(OPUS, 10, 1)


def test_the_rounds_of_a_body_stand_beside_langchains_sums() -> None:
    """langchain-anthropic keeps the body's usage, its own form has the sums alone."""
    whole = {"input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050}
    body = rounds(a_round("message", 1000, 50), ADVISOR, a_round("dream"))["raw"]
    usage, cost = priced({"usage_metadata": [whole], "response_metadata": [body]}, "claude-sonnet-4-5", "anthropic")
    assert (usage.input_tokens, len(usage.others), len(usage.problems)) == (1000, 1, 2)
    assert cost.total_usd == dollars(SONNET, 1000, 50) + dollars(OPUS, 2000, 300)


def test_an_attempt_of_another_model_is_named() -> None:
    """A refused attempt and the fallback that answered."""
    found = rounds(a_round("message", model="claude-fable-5"), a_round("fallback_message", model="claude-opus-4-6"))
    usage, _ = priced(found, "claude-opus-4-6", "anthropic")
    assert usage.problems == ("iterations has rounds of several models: the cost is by the one that answered",)


@pytest.mark.parametrize("odd", [["x"], {"a": 1}, None, 5])
def test_a_round_of_any_type_leaves_the_sums_as_they_are(odd: Json) -> None:
    usage, cost = priced(
        rounds(a_round("message"), {**a_round("message"), "type": odd}), "claude-sonnet-4-5", "anthropic"
    )
    assert (usage.total_tokens, cost.total_usd) == (1050, Decimal("0.00375"))
    assert f"iterations has a round of a type that is not known ({odd})" in usage.problems


# Modalities

IMAGE_MODEL = "gemini-2.5-flash-image"
WHOLE = {"input_tokens": 10, "output_tokens": 1300, "total_tokens": 1310}


def test_an_image_without_a_count_has_no_price() -> None:
    """langchain-google-genai drops the split by modality; an image costs ten times what text does."""
    raw = {"usage_metadata": [WHOLE], "listed": {"files": ["image"]}, "provider": "google_genai"}
    usage, cost = priced(raw, IMAGE_MODEL, "google_genai")
    assert usage.uncounted == ("output_image",)
    assert (cost.input_usd is None, cost.output_usd, cost.total_usd) == (False, None, None)
    assert cost.problems == ("output_image has a price of its own and no count",)


def test_an_image_through_langchain_is_seen() -> None:
    """In the answer's content; the problem stands with those of the usage."""
    from langchain_core.messages import AIMessage

    from tests.usage.test_frameworks import Chain

    class Painter(Chain):
        content: list[Any]

        def _get_ls_params(self, *_: Any, **more: Any) -> Any:
            return {"ls_provider": "google_genai", "ls_model_name": IMAGE_MODEL, "ls_model_type": "chat"}

        def _generate(self, *args: Any, **more: Any) -> Any:
            result = super()._generate(*args, **more)
            result.generations[0].message = AIMessage(self.content, usage_metadata=WHOLE)
            return result

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    v1 = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
    media = {"type": "media", "mime_type": "image/png", "data": "aGk="}
    for block in (image, v1, media):
        with capture() as trees:
            Painter(content=["Here.", block]).invoke("Draw.")
        (tree,) = trees
        assert tree.root.usage is not None and tree.root.cost is not None
        assert tree.root.usage.problems == ("output_image has a price of its own and no count",)
        assert tree.root.cost.total_usd is None


def test_an_image_with_a_count_is_priced() -> None:
    """As the body counts it."""
    details = [{"modality": "IMAGE", "tokenCount": 1290}, {"modality": "TEXT", "tokenCount": 10}]
    body = {"promptTokenCount": 10, "candidatesTokenCount": 1300, "totalTokenCount": 1310}
    raw = {"raw": {"usageMetadata": {**body, "candidatesTokensDetails": details}}, "listed": {"files": ["image"]}}
    usage, cost = priced(raw, IMAGE_MODEL, "google")
    assert (usage.uncounted, usage.output_image_tokens) == ((), 1290)
    assert cost.output_usd == (Decimal(30) * 1290 + Decimal("2.5") * 10) / 1_000_000


def test_audio_that_was_sent_and_not_counted_has_no_price() -> None:
    """On Gemini 2.5 Flash it costs three times what text does. Where it costs the same it matters not."""
    inputs = {
        "messages": [{"role": "user", "content": [{"type": "audio", "bytes": 10}, {"type": "text", "text": "?"}]}]
    }
    raw = {"usage_metadata": [WHOLE], "provider": "google_genai"}
    usage, cost = priced(raw, "gemini-2.5-flash", "google_genai", inputs)
    assert usage.uncounted == ("input_audio",)
    assert (cost.input_usd, cost.total_usd) == (None, None)
    assert priced(raw, "gemini-2.5-pro", "google_genai", inputs)[1].total_usd is not None


CACHED_AUDIO = {
    "promptTokenCount": 10000, "candidatesTokenCount": 100, "totalTokenCount": 10100, "cachedContentTokenCount": 6000,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2000}, {"modality": "AUDIO", "tokenCount": 8000}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}, {"modality": "AUDIO", "tokenCount": 5000}],
}  # fmt: skip


def test_cached_audio_is_priced() -> None:
    """Gemini-2.5-flash, a million: text 0.30, cached 0.03; audio 1.00, cached 0.10; out 2.50."""
    usage, cost = priced({"raw": {"usageMetadata": CACHED_AUDIO}}, "gemini-2.5-flash", "google")
    assert (usage.cache_read_tokens, usage.cache_read_audio_tokens, usage.problems) == (6000, 5000, ())
    text = Decimal("0.30") * 1000 + Decimal("0.03") * 1000
    audio = Decimal("1") * 3000 + Decimal("0.1") * 5000
    assert cost.total_usd == (text + audio + Decimal("2.5") * 100) / 1_000_000


# Modifiers


def vertex(traffic: str) -> Json:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 200, "totalTokenCount": 1200, "trafficType": traffic}
    return {"raw": {"usageMetadata": usage}}


def anthropic(**more: Any) -> Json:
    return {"raw": {"usage": {"input_tokens": 1000, "output_tokens": 200, "cache_read_input_tokens": 0, **more}}}


def bedrock(**more: Any) -> Json:
    return {"raw": {"usage": {"inputTokens": 1000, "outputTokens": 200, "totalTokens": 1200}, **more}}


def openai(tier: str) -> Json:
    return {
        "raw": bodies.openai({"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}, service_tier=tier)
    }


OPUS_46 = ("claude-opus-4-6", "anthropic")
FULL = dollars(OPUS, 1000, 200)
TTS = "gemini-3.8-flash-tts"
MODIFIED: dict[str, tuple[Json, tuple[str, str], Decimal | str | None]] = {
    "vertex": (vertex("ON_DEMAND"), ("gemini-2.5-flash", "google"), Decimal("0.0008")),
    "vertex, flex without a price": (vertex("ON_DEMAND_FLEX"), ("gemini-2.5-flash", "google"), "flex"),
    "vertex, priority without a price": (vertex("ON_DEMAND_PRIORITY"), ("gemini-2.5-flash", "google"), "priority"),
    "vertex, provisioned": (vertex("PROVISIONED_THROUGHPUT"), ("gemini-2.5-flash", "google"), "provisioned"),
    "vertex, flex with a price": (vertex("ON_DEMAND_FLEX"), (TTS, "google"), None),
    "anthropic, us": (anthropic(inference_geo="us"), OPUS_46, FULL * Decimal("1.1")),
    "anthropic, global": (anthropic(inference_geo="global"), OPUS_46, FULL),
    "anthropic, us, a later model": (
        anthropic(inference_geo="us"), ("claude-opus-5", "anthropic"), dollars(OPUS, 1000, 200) * Decimal("1.1"),
    ),
    "anthropic, an older model": (
        anthropic(inference_geo="not_available"), ("claude-sonnet-4-5", "anthropic"), dollars(SONNET, 1000, 200),
    ),
    "anthropic, a place that is not known": (anthropic(inference_geo="eu"), OPUS_46, "inference_geo eu"),
    "anthropic, batch": (anthropic(service_tier="batch"), OPUS_46, FULL / 2),
    "anthropic, batch of a model without a price": (
        anthropic(service_tier="batch"), ("claude-3-haiku-20240307", "anthropic"), "batch",
    ),
    "anthropic, priority": (anthropic(service_tier="priority"), OPUS_46, "priority"),
    "anthropic, fast without a price": (anthropic(speed="fast"), OPUS_46, "speed fast"),
    "anthropic, a credit": (
        anthropic(fallback_credit={"status": {"type": "redeemed"}}), OPUS_46, "fallback_credit redeemed",
    ),
    "anthropic, no credit": (anthropic(fallback_credit={"status": {"type": "not_applied"}}), OPUS_46, FULL),
    "bedrock": (bedrock(serviceTier={"type": "default"}), ("amazon.nova-pro-v1:0", "aws"), Decimal("0.00144")),
    "bedrock, flex": (bedrock(serviceTier={"type": "flex"}), ("amazon.nova-pro-v1:0", "aws"), "flex"),
    "bedrock, fast": (
        bedrock(performanceConfig={"latency": "optimized"}), ("amazon.nova-pro-v1:0", "aws"), "latency optimized",
    ),
    "bedrock, not fast": (
        bedrock(performanceConfig={"latency": "standard"}), ("amazon.nova-pro-v1:0", "aws"), Decimal("0.00144"),
    ),
    "openai, default": (openai("default"), ("gpt-4.1", "openai"), Decimal("0.0036")),
    "openai, a tier that is not known": (openai("scale"), ("gpt-4.1", "openai"), "service_tier scale"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "who", "expected"), MODIFIED.values(), ids=MODIFIED)
def test_what_an_answer_says_of_its_price_is_priced_or_named(raw: Json, who: tuple[str, str], expected: Any) -> None:
    usage, cost = priced(raw, *who)
    if isinstance(expected, str):
        assert (cost.input_usd, cost.output_usd, cost.total_usd) == (None, None, None)
        assert any(expected in problem for problem in cost.problems)
    elif expected is None:
        standard = priced(vertex("ON_DEMAND"), *who)[1].total_usd
        assert usage.service_tier == "flex"
        assert cost.total_usd is not None and standard is not None and cost.total_usd < standard
    else:
        assert (cost.total_usd, usage.problems, cost.problems) == (expected, (), ())


def test_a_factor_is_on_tokens_and_not_on_fees() -> None:
    """1.1 for all categories of tokens."""
    raw = anthropic(inference_geo="us", server_tool_use={"web_search_requests": 1})
    assert priced(raw, *OPUS_46)[1].total_usd == FULL * Decimal("1.1") + Decimal("0.01")


def test_a_modifier_without_a_price_is_named_in_the_tree(served: Provider, asked: Asked) -> None:
    """With the other problems of the usage; a cost without a figure is none."""
    served.will(bodies.openai(bodies.OPENAI_USAGE, service_tier="scale"))
    langchain(chat_openai(served))
    assert asked.event.usage is not None
    assert (asked.event.cost, asked.event.usage.problems) == (None, ("service_tier scale has no price",))


# Spellings

SPELLINGS = {
    "mistral, old": {"prompt_token_details": {"cached_tokens": 40}},
    "mistral": {"prompt_tokens_details": {"cached_tokens": 40}},
    "mistral, flat": {"num_cached_tokens": 40},
    "moonshot": {"cached_tokens": 40},
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_each_spelling_of_the_cache_is_read(spelled: Json) -> None:
    usage = normalize(
        {"raw": {"usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, **spelled}}}
    )
    assert usage is not None
    assert (usage.cache_read_tokens, usage.problems) == (40, ())


# Further members of these kinds


def test_a_table_without_the_condition_says_so() -> None:
    """The user's price is taken as it is, and what it may leave out is named."""
    pricer = Pricer({"*": {"input": 1, "output": 1}})
    usage = normalize(anthropic(speed="fast", inference_geo="us", service_tier="standard"))
    assert usage is not None
    cost = pricer.price(usage, model="claude-opus-4-6", provider="anthropic", at=AT)
    assert cost is not None and cost.total_usd == Decimal("0.0012")
    named = [problem.partition(" has no price in table:")[0] for problem in cost.problems]
    assert named == ["speed fast", "inference_geo us"]


def test_a_row_for_a_tier_prices_it() -> None:
    rows = [{"model": "*", "service_tier": "flex", "input": 1, "output": 1}, {"model": "*", "input": 2, "output": 2}]
    usage = normalize(vertex("ON_DEMAND_FLEX"))
    assert usage is not None
    cost = Pricer({"name": "mine", "prices": rows}).price(usage, model="m", provider="google", at=AT)
    assert cost is not None
    assert (cost.total_usd, cost.problems) == (Decimal("0.0012"), ())


@pytest.mark.parametrize(
    ("model", "price"),
    [("us.anthropic.claude-opus-4-6-v1:0", "5.5"), ("global.anthropic.claude-opus-4-6-v1:0", "5")],
)
def test_bedrocks_cross_region_profile_stands_in_the_models_name(model: str, price: str) -> None:
    """And genai-prices has both."""
    assert priced(bedrock(), model, "bedrock")[1].input_usd == Decimal(price) * 1000 / 1_000_000


def test_a_model_that_searches_at_each_request_has_no_total() -> None:
    """OpenAI's search models list nothing, and genai-prices has no fee for them."""
    usage, cost = priced(openai("default"), "gpt-4o-search-preview", "openai")
    assert (cost.total_usd, cost.problems) == (None, ("each request searches the web, which has no price",))
    assert usage.units == {}


def test_xais_tools_are_units() -> None:
    """XAI counts them in its usage; where it states the cost too, that is believed."""
    details = {"web_search_calls": 2, "x_search_calls": 1, "code_interpreter_calls": 0, "file_search_calls": 0}
    details |= {"document_search_calls": 1, "image_generation_calls": 1, "mcp_calls": 4}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "num_sources_used": 0}
    raw = {"raw": {"usage": {**usage, "server_side_tool_usage_details": details}}}
    found, cost = priced(raw, "grok-4.3", "xai")
    assert {name: n for name, n in found.units.items() if n} == {
        "web_searches": 2, "social_searches": 1, "document_searches": 1, "image_generations": 1,
    }  # fmt: skip
    assert cost.total_usd is None and len(cost.problems) == 4
    raw["raw"]["usage"]["cost_in_usd_ticks"] = 10**10
    assert priced(raw, "grok-4.3", "xai")[1] == Cost(total_usd=Decimal(1), source="provider")


def test_perplexitys_fee_for_a_request_covers_its_searches() -> None:
    """No unit is left without a price there."""
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "num_search_queries": 3}
    found, cost = priced({"raw": {"usage": usage}}, "sonar-pro", "perplexity")
    assert found.units == {"web_searches": 3}
    assert cost.total_usd is not None and cost.problems == ()


def test_an_image_through_llama_index_is_seen() -> None:
    """In the answer's blocks, where the body has no count of it."""
    pytest.importorskip("llama_index.core", exc_type=ImportError)
    from llama_index.core.llms import ChatMessage, ChatResponse, ImageBlock
    from llama_index.core.llms.callbacks import llm_chat_callback

    from tests.usage.test_frameworks import Llama

    class Painter(Llama):
        @llm_chat_callback()
        def chat(self, messages: Any, **more: Any) -> ChatResponse:
            message = ChatMessage(role="assistant", blocks=[ImageBlock(image=b"aGk=", image_mimetype="image/png")])
            usage = {"promptTokenCount": 10, "candidatesTokenCount": 1300, "totalTokenCount": 1310}
            return ChatResponse(message=message, raw={"usageMetadata": usage, "modelVersion": IMAGE_MODEL})

    with capture() as trees:
        Painter().chat([ChatMessage("Draw.")])
    (tree,) = trees
    assert tree.root.usage is not None and tree.root.cost is not None
    assert tree.root.usage.uncounted == ("output_image",)
    assert (tree.root.cost.output_usd, tree.root.cost.total_usd) == (None, None)


def test_a_trees_tokens_include_those_of_other_models() -> None:
    """Each token once."""
    from tests.usage.test_frameworks import ask

    with capture() as trees:
        ask(body={"model": "claude-sonnet-4-5", **rounds(a_round("message", 1000, 50), ADVISOR)["raw"]})
    (tree,) = trees
    assert tree.total_tokens == 1050 + 2300


def test_a_sum_that_leaves_something_out_says_at_least(capsys: pytest.CaptureFixture[str]) -> None:
    """A tree with a call that has a price and one that has none."""
    pytest.importorskip("rich")
    from rich.console import Console

    from eventtree.event import EventTree
    from eventtree.kinds import Kind, Status
    from eventtree.terminal import TreeView

    def event(name: str, cost: Cost | None) -> Event:
        usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
        parent = None if name == "a" else "a"
        return Event(
            status=Status.OK,
            id=name,
            parent_id=parent,
            tree_id="a",
            kind=Kind.MODEL,
            name=name,
            usage=usage,
            cost=cost,
            start=AT,
        )

    priced_one = Cost(input_usd=Decimal(1), output_usd=Decimal(1), total_usd=Decimal(2))
    for other, told in ((None, "at least $2"), (priced_one, "$4")):
        tree = EventTree(id="a", events=(event("a", priced_one), event("b", other)))
        Console(width=120).print(TreeView(tree))
        assert f"sum: 4 tokens, {told}" in capsys.readouterr().out


@pytest.mark.parametrize("identity", ["srvtoolu_1", "a3f0", None])
def test_tools_of_other_providers_in_langchains_standard_blocks_are_no_units(identity: str | None) -> None:
    """Anthropic counts them in its usage, Gemini's code costs its tokens alone."""
    listed = Listed()
    listed.items([{"type": "server_tool_call", "name": "code_interpreter", "id": identity, "args": {"code": "1"}}])
    assert listed.record() == {}


@pytest.mark.parametrize(
    "items", ["text", None, [None, 7, "text", [], {"type": []}, {"type": {}, "id": []}], {"type": 1}]
)
def test_whatever_a_message_holds_is_looked_through(items: Any) -> None:
    """Rule 1."""
    listed = Listed()
    listed.items(items)
    listed.grounding({"webSearchQueries": items, "groundingChunks": items})
    assert "units" not in listed.record()


def test_a_tier_that_has_a_price_from_a_later_day_on_has_none_before_it() -> None:
    """Genai-prices' variants may have days."""
    from genai_prices.data_snapshot import get_snapshot

    timed = [
        (one.id, model.id, variant)
        for one in get_snapshot().providers
        for model in one.models
        for variant in model.price_variants or ()
        if variant.constraint is not None and "service_tier" in variant.when
    ]
    assert timed
    for who, model, variant in timed[:3]:
        usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2, service_tier=variant.when["service_tier"])
        days = [datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2099)]
        for at in days:
            cost = Pricer().price(usage, model=model, provider=who, at=at) or Cost()
            others = [v for v in _variants(who, model) if v.when == variant.when]
            is_priced = any(v.constraint is None or v.constraint.active(at) for v in others)
            assert bool(cost.problems) != is_priced or usage.service_tier == "default"


def _variants(who: str, model: str) -> list[Any]:
    from genai_prices.data_snapshot import get_snapshot

    (found,) = [one for one in get_snapshot().providers if one.id == who]
    return [variant for one in found.models if one.id == model for variant in one.price_variants or ()]


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
@pytest.mark.parametrize("content", [True, False])
def test_what_was_sent_is_seen_where_contents_are_not_recorded(
    served: Provider, asked: Asked, framework: str, content: bool
) -> None:
    """Audio without a count is named, whether or not its message is recorded."""
    import eventtree.llama_index
    from eventtree.langchain import CallbackHandler

    served.will(bodies.openai({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}, AUDIO_MODEL))
    if framework == "langchain":
        sound = {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}}
        handler = CallbackHandler(strict=True, content=content)
        model = chat_openai(served, model=AUDIO_MODEL)
        model.invoke([{"role": "user", "content": [sound]}], config={"callbacks": [handler]})
    else:
        from llama_index.core.llms import AudioBlock, ChatMessage
        from llama_index.llms.openai import OpenAI

        eventtree.llama_index.set_global_handler(strict=True, content=content)
        asked_of = OpenAI(model=AUDIO_MODEL, api_key=KEY, api_base=f"{served.url}/v1", max_retries=0)
        asked_of.chat([ChatMessage(blocks=[AudioBlock(audio=b"abc", format="wav")])])
        eventtree.llama_index.set_global_handler(None)
    event = asked.event
    assert event.usage is not None
    assert (event.inputs is not None, event.usage.uncounted) == (content, ("input_audio",))


def test_audio_without_a_price_is_not_charged_as_text() -> None:
    """Genai-prices has the price of text alone of gpt-4o-audio-preview, whose audio costs eight times as much."""
    counts = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    details = {"prompt_tokens_details": {"audio_tokens": 80}, "completion_tokens_details": {"audio_tokens": 0}}
    usage, cost = priced({"raw": {"usage": {**counts, **details}}}, AUDIO_MODEL, "openai")
    assert (usage.input_audio_tokens, cost.problems) == (80, ("input_audio has a price of its own that is not known",))
    assert (cost.input_usd, cost.output_usd, cost.total_usd) == (None, Decimal(10) * 50 / 1_000_000, None)


def test_what_a_fine_tuned_model_reads_from_its_cache_is_not_charged_as_new() -> None:
    """Genai-prices has two prices of ft:gpt-4o-mini; what was cached costs half of the input's, as OpenAI lists."""
    counts = {"prompt_tokens": 2000, "completion_tokens": 50, "total_tokens": 2050}
    cached = {**counts, "prompt_tokens_details": {"cached_tokens": 1024}}
    model = "ft:gpt-4o-mini-2024-07-18:acme::AbC"
    _, cost = priced({"raw": {"usage": cached}}, model, "openai")
    assert (cost.input_usd, cost.output_usd, cost.total_usd) == (None, Decimal("1.2") * 50 / 1_000_000, None)
    assert cost.problems == ("cache_read has a price of its own that is not known",)
    assert priced({"raw": {"usage": counts}}, model, "openai")[1].total_usd == Decimal("0.00066")


# What has a price of its own beside the plain tokens, as each provider documents it

MODALITIES = {
    "Perplexity's citations": (
        {
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 20016,
                "num_search_queries": 21,
                "reasoning_tokens": 193947,
            }
        },
        *("sonar-deep-research", "perplexity"),
        # 2 in, 8 out, 3 for reasoning, 2 for citations, a million each; 5 for a thousand searches
        "0.784243",
    ),
    "Mistral's audio, by the second": (
        {"usage": {"prompt_tokens": 4, "completion_tokens": 100, "total_tokens": 1479, "prompt_audio_seconds": 900}},
        *("voxtral-small-latest", "mistral"),
        # 0.1 in, 0.4 out, a million each; 0.24 an hour
        "0.0600404",
    ),
    "LiteLLM's cache writes of an hour": (
        {
            "usage": {
                "prompt_tokens": 3000,
                "completion_tokens": 10,
                "total_tokens": 3010,
                "prompt_tokens_details": {
                    "cached_tokens": 0,
                    "cache_creation_tokens": 2000,
                    "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2000},
                },
            }
        },
        *("claude-sonnet-4-5", "anthropic"),
        # 3 in, 6 for what is written for an hour, 15 out
        "0.01515",
    ),
    "the Live API's audio": (
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "responseTokenCount": 50,
                "totalTokenCount": 150,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
                "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
            }
        },
        *("gemini-live-2.5-flash", "google"),
        # 0.5 in, 12 for audio out
        "0.00065",
    ),
    "Gemini's video": (
        {
            "usageMetadata": {
                "promptTokenCount": 1000,
                "candidatesTokenCount": 50,
                "totalTokenCount": 1050,
                "promptTokensDetails": [
                    {"modality": "VIDEO", "tokenCount": 900},
                    {"modality": "TEXT", "tokenCount": 100},
                ],
            }
        },
        *("gemini-3.8-live", "google"),
        # 0.75 in, 1 for video, 4.5 out
        "0.0012",
    ),
    "OpenRouter's searches": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "server_tool_use": {"web_search_requests": 2},
            }
        },
        *("anthropic/claude-sonnet-4.5", "openrouter"),
        None,
    ),
    "Cohere's images": (
        {"meta": {"billed_units": {"images": 1, "input_tokens": 0}}},
        *("embed-v4.0", "cohere"),
        None,
    ),
    "Cohere's classifications": ({"meta": {"billed_units": {"classifications": 3}}}, "command-r", "cohere", None),
}


@pytest.mark.parametrize(("body", "model", "provider", "total"), MODALITIES.values(), ids=MODALITIES)
def test_what_a_provider_charges_otherwise_is_charged_so(
    body: Json, model: str, provider: str, total: str | None
) -> None:
    """Rules 2 and 5: the price of its own, or no total and a problem that names it."""
    usage, cost = priced({"raw": body}, model, provider)
    assert cost.total_usd == (None if total is None else Decimal(total))
    assert not usage.problems
    assert bool(cost.problems) == (total is None)


def test_voxtrals_audio_is_part_of_the_input_though_not_of_prompt_tokens() -> None:
    """docs.mistral.ai/api, UsageInfo: the total counts it; it is billed by its length."""
    usage = {"prompt_tokens": 4, "completion_tokens": 100, "total_tokens": 1479, "prompt_audio_seconds": 203}
    found = normalize({"raw": {"usage": usage}})
    assert found is not None
    assert (found.input_tokens, found.input_audio_tokens, found.total_tokens) == (1379, 1375, 1479)
    assert found.units == {"audio_seconds": 203}


def test_qwens_explicit_cache_is_read() -> None:
    """alibabacloud.com/help/en/model-studio/context-cache."""
    details = {"cached_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 1605}, "cache_type": "ephemeral"}
    usage = {"prompt_tokens": 1700, "completion_tokens": 10, "total_tokens": 1710}
    found = normalize({"raw": {"usage": {**usage, "prompt_tokens_details": details}}})
    assert found is not None
    assert (found.input_tokens, found.cache_write_tokens, found.cache_write_5m_tokens) == (1700, 1605, 1605)


def test_what_a_client_marks_as_not_given_is_no_count() -> None:
    """mistralai's `Unset`, an object without fields."""

    class Unset(BaseModel):
        """As in mistralai.types."""

    class UsageInfo(BaseModel):
        """As in mistralai.models."""

        prompt_tokens: int = 4
        completion_tokens: int = 5
        total_tokens: int = 9
        prompt_audio_seconds: Unset = Unset()

    found = normalize({"raw": usage_in({"usage": UsageInfo()})})
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.problems, found.units) == (4, 5, (), {})


def test_perplexitys_answer_through_langchain_costs_what_its_body_costs() -> None:
    """langchain_perplexity keeps neither the body nor its cost: counts as they are, and the searches beside them."""
    counts = {"input_tokens": 33, "output_tokens": 7163, "total_tokens": 7196}
    details = {"reasoning": 193947, "citation_tokens": 20016}
    about = {"model_name": "sonar-deep-research", "num_search_queries": 21}
    record = {
        "usage_metadata": [{**counts, "output_token_details": details}],
        "response_metadata": [usage_in(about)],
        "streamed": True,
    }
    usage, cost = priced(record, "sonar-deep-research", "perplexity")
    body = MODALITIES["Perplexity's citations"][0]
    assert (usage.problems, cost) == ((), priced({"raw": body}, "sonar-deep-research", "perplexity")[1])
    assert usage.units == {"web_searches": 21, "citation_tokens": 20016}
