"""Several places of one answer: which is believed, what is mended, what is flagged, what is counted once."""

from __future__ import annotations

from typing import Any

import pytest

from eventtree.event import Usage
from eventtree.usage.normalize import normalize

Json = dict[str, Any]


def form(input_tokens: int, output_tokens: int, **details: Any) -> Json:
    total = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total, **details}


def usage_of(raw: Json) -> Usage:
    usage = normalize(raw)
    assert usage is not None
    return usage


def sides(usage: Usage) -> tuple[int | None, int | None, int | None]:
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "text",
        {},
        {"provider": "openai", "streamed": True, "batch_size": 1, "cached": False},
        {"response_metadata": [{"model_name": "m", "headers": {"x": "y"}}], "usage_metadata": [None]},
        {"llm_output": {"token_usage": {}, "model_name": "m"}, "batch_size": 1},
        {"raw": {"usage": None}},
    ],
)
def test_no_usage_is_none(raw: Any) -> None:
    """C8: unknown is None, so that a tokenizer may be asked."""
    assert normalize(raw) is None


def test_usage_of_a_stream_is_read_from_the_message() -> None:
    """C1: llm_output is missing in streams."""
    usage = usage_of({"usage_metadata": [form(11, 7)], "llm_output": None, "streamed": True, "provider": "openai"})
    assert sides(usage) == (11, 7, 18)


def test_the_whole_record_is_kept_raw() -> None:
    """Rule 4: what was sent is kept."""
    raw = {"usage_metadata": [form(1, 2)], "response_metadata": [{"token_usage": {"prompt_tokens": 1}}]}
    assert usage_of(raw).raw == raw


def test_details_that_langchain_drops_are_taken_from_the_body() -> None:
    """C2: Mistral's cached tokens stand in response_metadata only."""
    body = {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150, "num_cached_tokens": 64}
    usage = usage_of({"usage_metadata": [form(120, 30)], "response_metadata": [{"token_usage": body}]})
    assert (sides(usage), usage.cache_read_tokens, usage.problems) == ((120, 30, 150), 64, ())


def test_the_split_of_cache_writes_is_taken_from_the_body() -> None:
    """C2: 5 minutes and 1 hour have different prices."""
    body = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 90,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60},
    }
    meta = form(100, 5, input_token_details={"cache_read": 0, "cache_creation": 0})
    usage = usage_of({"usage_metadata": [meta], "response_metadata": [{"usage": body}], "provider": "anthropic"})
    writes = (usage.cache_write_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)
    assert (sides(usage), writes) == ((100, 5, 105), (90, 30, 60))


def test_an_anthropic_stream_without_input_is_mended_from_what_arrived() -> None:
    """C1: message_delta without input_tokens makes langchain-anthropic report 0; message_start had them."""
    start = {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1}
    raw = {
        "usage_metadata": [form(0, 12)],
        "response_metadata": [{"usage": start, "model_provider": "anthropic"}],
        "provider": "anthropic",
        "streamed": True,
    }
    usage = usage_of(raw)
    assert (sides(usage), usage.cache_read_tokens, usage.problems) == ((125, 12, 137), 100, ())


@pytest.mark.parametrize(
    ("meta", "expected"), [(form(0, 12), (None, 12, None)), (form(0, 0), (None, None, None))], ids=["output", "nothing"]
)
def test_an_anthropic_answer_without_input_is_flagged(meta: Json, expected: Any) -> None:
    """C1: where nothing else arrived, the input is unknown, not 0."""
    usage = usage_of({"usage_metadata": [meta], "provider": "anthropic", "streamed": True})
    assert sides(usage) == expected
    assert usage.problems == ("input is 0 though a prompt was sent: the stream did not report it",)


def test_an_input_of_zero_of_another_class_is_kept() -> None:
    """C5: an unstreamed class of the user's may say 0."""
    usage = usage_of({"usage_metadata": [form(0, 12)], "provider": "fm"})
    assert (sides(usage), usage.problems) == ((0, 12, 12), ())


@pytest.mark.parametrize("provider", ["fm", "amazon_bedrock", None])
def test_an_answer_of_zero_and_zero_is_nobodys_count(provider: str | None) -> None:
    """C1: langchain-aws fills in 0 where Invoke's counting headers are missing; free it was not."""
    usage = usage_of({"usage_metadata": [form(0, 0)], "provider": provider})
    assert sides(usage) == (None, None, None)
    assert usage.problems == ("input is 0 though a prompt was sent: nobody counted it",)


def test_a_cohere_stream_that_tells_only_what_is_billed_says_so() -> None:
    """C1: langchain-cohere copies the billed units to where whole answers have the tokens."""
    counts = {"total_tokens": 1170.0, "input_tokens": 1100.0, "output_tokens": 70.0}
    usage = usage_of({"usage_metadata": [{}], "response_metadata": [{"token_count": counts}], "provider": "cohere"})
    assert (sides(usage), usage.units) == (
        (1100, 70, 1170), {"billed_input_tokens": 1100, "billed_output_tokens": 70},
    )  # fmt: skip
    assert usage.problems == ("the units that are billed: the client's streams do not tell the tokens",)


def test_a_cohere_stream_is_billed_by_its_units_wherever_the_client_has_them() -> None:
    """C1: langchain-cohere's asynchronous streams have them as usage_metadata too."""
    record = {"usage_metadata": [form(1100, 70)], "response_metadata": [{"token_count": form(1100, 70)}]}
    usage = usage_of({**record, "streamed": True, "provider": "cohere"})
    assert usage.units == {"billed_input_tokens": 1100, "billed_output_tokens": 70}
    assert usage.problems == ("the units that are billed: the client's streams do not tell the tokens",)


@pytest.mark.parametrize("provider", [[], {}, 7, None])
def test_a_provider_that_is_no_name_is_none(provider: Any) -> None:
    """Takes any JSON."""
    assert sides(usage_of({"usage_metadata": [form(10, 5)], "streamed": True, "provider": provider})) == (10, 5, 15)


def test_an_answer_of_nothing_that_is_billed_for_its_input_is_told_so() -> None:
    """Cohere: the price goes by both counts."""
    usage = usage_of({"raw": {"usage": {"billed_units": {"input_tokens": 39, "output_tokens": 0}}}})
    assert usage.units == {"billed_input_tokens": 39, "billed_output_tokens": 0}


def test_a_whole_cohere_answer_does_not_tell_what_is_billed() -> None:
    counts = {"input_tokens": 1200.0, "output_tokens": 80.0}
    record = {"usage_metadata": [form(1200, 80)], "response_metadata": [{"token_count": counts}], "provider": "cohere"}
    usage = usage_of(record)
    assert (sides(usage), usage.units) == ((1200, 80, 1280), {})
    assert usage.problems == (
        "the tokens that the model saw: the client does not tell how many of them are billed",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"usage_metadata": [form(1200, 80)], "streamed": True}, True),
        ({"usage_metadata": [form(1200, 80)]}, False),
        ({"usage_metadata": [form(1200, 80, input_token_details={"cache_read": 0})], "streamed": True}, False),
        ({"raw": {"usage": {"prompt_tokens": 1200, "completion_tokens": 80}}, "streamed": True}, False),
    ],
    ids=["stream", "whole", "a client that tells", "the provider's own body"],
)
def test_a_mistral_stream_whose_client_drops_the_cache_says_so(record: dict[str, Any], named: bool) -> None:
    """C2: the input may have cost a tenth."""
    usage = usage_of({**record, "provider": "mistral"})
    assert usage.problems == (("the client's streams do not tell which tokens were cached",) if named else ())


LONG = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("message", "is_named"),
    [
        ({"content": "Hello", "extra": {"cache_control": LONG}}, True),
        ({"content": [{"type": "text", "text": "Hello"}, {"type": "cache", "cache_control": LONG}]}, True),
        ({"content": [{"type": "text", "text": "Hello", "extras": {"cache_control": LONG}}]}, True),
        ({"content": "Hello"}, False),
    ],
    ids=["message", "cache point", "block", "no cache"],
)
def test_an_anthropic_stream_that_does_not_tell_of_the_cache_has_no_input(message: Json, is_named: bool) -> None:
    """C2: LlamaIndex keeps the input of a stream's first event, without the cache, if the last has the output alone."""
    counts, inputs = {"input_tokens": 4, "output_tokens": 5}, {"messages": [{"role": "user", **message}]}
    record: Json = {"raw": {"usage": counts}, "provider": "anthropic", "streamed": True}
    lost = normalize(record, inputs)
    assert lost is not None
    problem = "a cache was asked for, and the stream does not tell how much of the input it was"
    assert (sides(lost), lost.problems) == (((None, 5, None), (problem,)) if is_named else ((4, 5, 9), ()))
    whole = {**record, "raw": {"usage": {**counts, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 100}}}
    told = normalize(whole, inputs)
    assert told is not None
    problem = "cache writes of an hour were asked for, and the client does not tell which they are"
    assert (sides(told), told.problems) == ((104, 5, 109), (problem,) if is_named else ())


def test_an_xai_stream_whose_client_drops_the_charge_says_so() -> None:
    """xAI states what it charged, tools and all; only whole answers through LangChain have it."""
    whole = {"usage_metadata": [form(10, 5)], "provider": "xai"}
    problem = "the client's streams do not tell what xAI says it charged, nor its tools: the cost is by tokens"
    assert (usage_of(whole).problems, usage_of({**whole, "streamed": True}).problems) == ((), (problem,))


@pytest.mark.parametrize(
    ("body", "place"),
    [({"prompt_tokens": 10, "completion_tokens": 25, "total_tokens": 35}, "response_metadata")],
)
def test_the_providers_body_is_believed_over_a_client_that_disagrees(body: Json, place: str) -> None:
    """C3: a client that loses thinking tokens is named, and the bill is right."""
    usage = usage_of({"usage_metadata": [form(10, 5)], place: [{"token_usage": body}]})
    assert sides(usage) == (10, 25, 35)
    assert usage.problems == ("usage_metadata says 10 + 5 and response_metadata says 10 + 25",)


def test_in_a_stream_the_normalised_form_is_believed() -> None:
    """C1: metadata merged from chunks is no body."""
    body = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    raw = {"usage_metadata": [form(10, 5)], "response_metadata": [{"token_usage": body}], "streamed": True}
    assert (sides(usage_of(raw)), usage_of(raw).problems) == ((10, 5, 15), ())


def test_a_body_without_contradictions_is_preferred() -> None:
    """C2: the cache counted outside the input by a client is settled by the body."""
    meta = form(10, 5, input_token_details={"cache_read": 1000})
    body = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1000}
    usage = usage_of({"usage_metadata": [meta], "response_metadata": [{"usage": body}]})
    assert (sides(usage), usage.cache_read_tokens, usage.problems) == ((1010, 5, 1015), 1000, ())


def test_llama_index_takes_thoughts_from_the_raw_body() -> None:
    """C3: its completion_tokens of Gemini exclude the thoughts."""
    raw = {
        "raw": {
            "usage_metadata": {
                "prompt_token_count": 10,
                "candidates_token_count": 5,
                "thoughts_token_count": 85,
                "total_token_count": 100,
            }
        },
        "additional_kwargs": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 100},
    }
    usage = usage_of(raw)
    assert (sides(usage), usage.reasoning_tokens, usage.problems) == ((10, 90, 100), 85, ())


def test_googles_openai_form_counts_thinking_in_the_total_only() -> None:
    """C3: the total decides."""
    body = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 100}
    usage = usage_of({"additional_kwargs": body, "provider": "google_genai"})
    assert (sides(usage), usage.reasoning_tokens) == ((10, 90, 100), 85)


def test_a_total_that_fits_nothing_is_flagged() -> None:
    """Rule 4: flagged, not guessed."""
    usage = usage_of({"raw": {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 100}}})
    assert (sides(usage), usage.problems) == ((10, 5, 15), ("total is 100, input 10 and output 5",))


CONTRADICTIONS: dict[str, tuple[Json, tuple[int | None, int | None, int | None]]] = {
    "more cache than input": (form(10, 5, input_token_details={"cache_read": 1000}), (None, 5, None)),
    "more reasoning than output": (form(10, 5, output_token_details={"reasoning": 50}), (10, None, None)),
    "negative": ({"input_tokens": -3, "output_tokens": 5, "total_tokens": 2}, (None, 5, None)),
    "fraction": ({"input_tokens": 1.5, "output_tokens": 5}, (None, 5, None)),
    "text": ({"input_tokens": "12", "output_tokens": 5}, (None, 5, None)),
    "bool": ({"input_tokens": True, "output_tokens": 5}, (None, 5, None)),
    "beyond all measure": ({"input_tokens": 1e300, "output_tokens": 5}, (None, 5, None)),
}


@pytest.mark.parametrize(("meta", "expected"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_cannot_be_is_none_and_flagged(meta: Json, expected: Any) -> None:
    """C2: never negative, never guessed; raw keeps it."""
    usage = usage_of({"usage_metadata": [meta]})
    assert sides(usage)[:2] == expected[:2]
    assert usage.problems
    assert usage.raw == {"usage_metadata": [meta]}


def test_a_problem_never_repeats_text() -> None:
    """F2: text where a number belongs may be anybody's secret."""
    assert "secret" not in usage_of({"usage_metadata": [{"input_tokens": "secret", "output_tokens": 1}]}).problems[0]


def test_a_side_that_is_missing_follows_from_the_total() -> None:
    """total = input + output."""
    assert sides(usage_of({"usage_metadata": [{"input_tokens": 3, "total_tokens": 10}]})) == (3, 7, 10)


GENERATIONS: dict[str, tuple[Json, tuple[int, int, int], bool]] = {
    "each its own": ({"usage_metadata": [form(10, 5), form(10, 7)]}, (20, 12, 32), False),
    "each its own, and the request's sum": (
        {
            "usage_metadata": [form(10, 5), form(10, 5)],
            "llm_output": {"token_usage": {"prompt_tokens": 20, "completion_tokens": 10}},
        },
        (20, 10, 30),
        False,
    ),
    "the request's repeated": (
        {
            "usage_metadata": [form(10, 12), form(10, 12)],
            "llm_output": {"token_usage": {"prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22}},
        },
        (10, 12, 22),
        False,
    ),
    "repeated by a provider known for it": (
        {"usage_metadata": [form(10, 12), form(10, 12)], "provider": "google_genai"},
        (10, 12, 22),
        False,
    ),
    "the same, and nothing tells": (
        {"usage_metadata": [form(10, 5), form(10, 5)], "provider": "fm"},
        (20, 10, 30),
        True,
    ),
    "shares of an output and the whole input": (
        {
            "usage_metadata": [form(10, 5), form(10, 7)],
            "llm_output": {"token_usage": {"prompt_tokens": 10, "completion_tokens": 12}},
        },
        (10, 12, 22),
        False,
    ),
}


@pytest.mark.parametrize(("raw", "expected", "is_flagged"), GENERATIONS.values(), ids=GENERATIONS)
def test_generations_are_summed_and_a_request_is_counted_once(raw: Json, expected: Any, is_flagged: bool) -> None:
    """C6: neither the last nor the first of n."""
    usage = usage_of(raw)
    assert (sides(usage), bool(usage.problems)) == (expected, is_flagged)


def test_a_batch_of_prompts_is_counted_on_its_first() -> None:
    """C7: BaseLLM.generate writes the sum on the first prompt and an empty dict on the others."""
    spent = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
    first = usage_of({"llm_output": {"token_usage": spent}, "batch_size": 3})
    other = usage_of({"llm_output": {"token_usage": {}}, "batch_size": 3})
    assert (sides(first), first.problems) == ((30, 20, 50), ("the sum of the batch's 3 prompts",))
    assert (sides(other), other.problems) == ((None, None, None), ("counted on the first of the batch's 3 prompts",))


@pytest.mark.parametrize(
    "raw",
    [
        {"usage_metadata": [form(10, 5, total_cost=0)]},
        {"usage_metadata": [form(10, 5)], "cached": True},
    ],
)
def test_an_answer_from_the_frameworks_cache_says_so(raw: Json) -> None:
    """C4: langchain-core marks a hit with total_cost 0 and nothing else."""
    usage = usage_of(raw)
    assert (usage.cached, sides(usage)) == (True, (10, 5, 15))


def test_a_cached_answer_without_usage_says_so_too() -> None:
    """C4: text models carry no usage from the cache."""
    assert usage_of({"cached": True}).cached


@pytest.mark.parametrize("cost", [0.5, True, False, "0", None])
def test_another_total_cost_is_no_cache_hit(cost: Any) -> None:
    """C4: only the number 0."""
    assert not usage_of({"usage_metadata": [form(10, 5, total_cost=cost)]}).cached


def test_a_mended_answer_without_output_has_no_total() -> None:
    """C1: a compacted context of 0 and 0, of which only the prompt is known."""
    raw = {
        "usage_metadata": [form(0, 0)],
        "response_metadata": [{"usage": {"input_tokens": 25}}],
        "provider": "anthropic",
        "streamed": True,
    }
    assert sides(usage_of(raw)) == (25, None, None)


def test_details_that_do_not_fit_together_are_not_mixed() -> None:
    """C2: two places agree on the sides and not on the cache; the first is kept as it is."""
    body = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cache_write_tokens": 80}}
    meta = form(100, 5, input_token_details={"cache_read": 90})
    usage = usage_of({"usage_metadata": [meta], "response_metadata": [{"token_usage": body}]})
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (90, None)
