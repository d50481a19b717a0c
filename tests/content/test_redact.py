"""No secret that can be told by its looks or its key gets through (F22, F2)."""

from __future__ import annotations

import dataclasses
import enum
import html
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import NodeWithScore, TextNode

from eventtree import diagnostics
from eventtree.content import FAILED, MASK, Sanitizer, known_secrets, masking
from eventtree.content.redact import is_secret_key
from tests.plain import sanitize

A = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7"  # 39 characters, like the body of many keys
HEX = "0123456789abcdef0123456789abcdef01234567"

SECRETS = {
    "OpenAI": f"sk-{A}",
    "OpenAI project": f"sk-proj-{A}_{A}",
    "OpenAI service": f"sk-svcacct-{A}",
    "Anthropic": f"sk-ant-api03-{A}-{A}",
    "OpenRouter": f"sk-or-v1-{HEX}",
    "Langfuse": "sk-lf-12345678-1234-1234-1234-123456789012",
    "AWS id": "AKIAIOSFODNN7EXAMPLE",
    "AWS session": "ASIAIOSFODNN7EXAMPLE",
    "GitHub personal": f"ghp_{A[:36]}",
    "GitHub OAuth": f"gho_{A[:36]}",
    "GitHub server": f"ghs_{A[:36]}",
    "GitHub fine": f"github_pat_{A}_{A}",
    "GitLab": f"glpat-{A[:20]}",
    "Slack bot": f"xoxb-123456789012-{A[:24]}",
    "Slack user": f"xoxp-123456789012-{A[:24]}",
    "Slack app": "xapp-1-A0123456789-0123456789-abcdef",
    "Slack hook": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "Google": f"AIza{A[:35]}",
    "Google OAuth": f"ya29.{A}",
    "Google client": f"GOCSPX-{A[:28]}",
    "Stripe": f"sk_live_{A[:24]}",
    "Stripe test": f"rk_test_{A[:24]}",
    "Stripe hook": f"whsec_{A[:32]}",
    "Hugging Face": f"hf_{A[:34]}",
    "Groq": f"gsk_{A}{A[:13]}",
    "xAI": f"xai-{A}",
    "Perplexity": f"pplx-{A}",
    "Tavily": f"tvly-dev-{A}",
    "LangSmith": f"lsv2_pt_{HEX[:32]}_abcdef0123",
    "Pinecone": f"pcsk_{A}_{A}",
    "Replicate": f"r8_{A[:37]}",
    "npm": f"npm_{A[:36]}",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{A}",
    "SendGrid": f"SG.{A[:22]}.{A}",
    "DigitalOcean": f"dop_v1_{HEX}",
    "Shopify": f"shpat_{HEX[:32]}",
    "Supabase": f"sbp_{HEX}",
    "Linear": f"lin_api_{A}",
    "Notion": f"ntn_{A}",
    "Figma": f"figd_{A}",
    "Grafana": f"glsa_{A}",
    "Databricks": f"dapi{HEX[:32]}",
    "Vault": f"hvs.{A}",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "age": "AGE-SECRET-KEY-1QQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQ",
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", ["{}", "use {} please", "({})", '"{}"', "a\n{}\nb", "x={}", "x: {}.", "İ {}"])
def test_known_tokens_are_replaced_wherever_they_stand(name: str, around: str) -> None:
    """F22."""
    secret = SECRETS[name]
    told = secret.rsplit("/", 1)[-1]
    out = known_secrets()(around.format(secret))
    assert told not in out
    assert MASK in out
    assert out.startswith(around.split("{")[0].split("=")[0])


TOLD = {
    "shell": ("export PGPASSWORD=hunter22 ok", "hunter22"),
    "env": ("MY_API_KEY=abcd1234", "abcd1234"),
    "json": ('{"password": "two words"}', "two words"),
    "json in json": ('"{\\"client_secret\\": \\"s3cr3t value\\"}"', "s3cr3t value"),
    "json with a quote in it": ('{"password": "one\\"two"}', "two"),
    "python": ("{'api_key': 'my own key'}", "my own key"),
    "keyword argument": ("Client(api_key='abcdefg')", "abcdefg"),
    "yaml": ("secret: topsecret1", "topsecret1"),
    "arrow": ("password => hunter22", "hunter22"),
    "long name": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    "header": ("Authorization: Bearer opaque-token-value", "opaque-token-value"),
    "header, basic": ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "bearer alone": ("curl -H 'bearer abcdef0123456789'", "abcdef0123456789"),
    "x-api-key": ("x-api-key: abcdef123", "abcdef123"),
    "token": ("access_token=abcDEF123456xyz", "abcDEF123456xyz"),
    "query": ("https://h/p?a=1&token=abcdefghijk123&b=2", "abcdefghijk123"),
    "query key": ("https://h/p?key=abcdefghijk123", "abcdefghijk123"),
    "signed url": ("https://h/b?X-Amz-Signature=0123456789abcdef&x=1", "0123456789abcdef"),
    "sas": ("https://h/b?sv=1&sig=abcdefgh%2Fijkl123%3D", "abcdefgh"),
    "url": ("postgresql://ann:s3cret@db:5432/x", "s3cret"),
    "url, user only": ("https://0123456789abcdef0123@sentry.io/1", "0123456789abcdef0123"),
    "azure": ("AccountName=x;AccountKey=abcdefghijk123==;End", "abcdefghijk123"),
    "cookie": ("Cookie: session=abcdefghijklmnop1", "abcdefghijklmnop1"),
}


@pytest.mark.parametrize("name", TOLD)
def test_values_told_by_the_word_before_them_are_replaced(name: str) -> None:
    """F22."""
    text, secret = TOLD[name]
    out = known_secrets()(text)
    assert secret not in out
    assert MASK in out


PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{A}\n{A}==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("pem", [PEM, PEM.replace("\n", "\\n"), PEM[:60], PEM.replace("RSA ", "OPENSSH ")])
def test_private_keys_are_replaced_even_when_cut_off(pem: str) -> None:
    """F22."""
    out = known_secrets()(f"key:\n{pem}")
    assert A[:12] not in out


HARMLESS = [
    "Passwords should be long. A secret is a secret.",
    "The token count is 12; max_tokens=4096, total_tokens: 1234567890123",
    "usage={'input_tokens': 5, 'output_tokens': 7}",
    "sk-learn-pipelines-and-transformers-explained",
    "ask-for-something-you-really-want-today",
    "https://example.com/path?page=2#part and ssh://git@github.com/a/b",
    "a basic understanding of bearer instruments",
    "def f(password: str, token: int) -> None",
    "https://docs.python.org/3/library/re.html",
    "eyJ is how a token begins. So is sk-. And AKIA.",
    "2026-01-02T03:04:05 10.0.0.1:8080 key=value mail me: ann at example",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text: str) -> None:
    """A redactor that eats prose is switched off."""
    assert known_secrets()(text) == text


def test_email_addresses_are_replaced_on_request() -> None:
    """F22."""
    text = "write to ann.b+c@mail.example.org, or @here, a@b"
    assert known_secrets()(text) == text
    assert known_secrets(email=True)(text) == f"write to {MASK}, or @here, a@b"


def test_own_redactor_sees_what_is_left() -> None:
    """Both may be wanted."""
    redact = known_secrets(also=lambda text: text.replace("Ann", "X"))
    assert redact(f"Ann has {SECRETS['OpenAI']}") == f"X has {MASK}"


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """Masks are no secrets."""
    once = known_secrets(email=True)(text + " password=abcd1234 " + SECRETS["AWS id"])
    assert known_secrets(email=True)(once) == once


SECRET_KEYS = """
api_key apiKey API_KEY OPENAI_API_KEY openaiApiKey x-api-key authorization Authorization password passwd
PGPASSWORD userPassword db_password token access_token accessToken refresh_token id_token GITHUB_TOKEN
client_secret secret SECRET_KEY aws_secret_access_key AWS_ACCESS_KEY_ID private_key credentials cookie
Set-Cookie bearer auth jwt passphrase connection_string hf_token session_token secrets access_tokens APIKey
"""
OPEN_KEYS = """
input_tokens output_tokens max_tokens total_tokens prompt_tokens completion_tokens token_count tokens
num_tokens max_token tokenizer token_type next_token next_page_token pad_token eos_token author authors key
keys keyboard secretary password_required auth_type max_completion_tokens cached_tokens public_key question
token_usage total_token tokens_per_second first_token time_to_first_token content name id passenger
"""


@pytest.mark.parametrize("key", SECRET_KEYS.split())
def test_secret_keys_are_known(key: str) -> None:
    """F22."""
    assert is_secret_key(key)


@pytest.mark.parametrize("key", OPEN_KEYS.split())
def test_other_keys_are_not(key: str) -> None:
    """Counts of tokens least of all."""
    assert not is_secret_key(key)


def test_values_under_secret_keys_are_replaced_whole_but_not_none_and_flags() -> None:
    """F22."""
    value = {"api_key": {"nested": ["canary"]}, "password": 12345, "token": None, "secret": False, "input_tokens": 7}
    out = Sanitizer(redact=known_secrets())(value)
    assert out == {"api_key": MASK, "password": MASK, "token": None, "secret": False, "input_tokens": 7}


class SecretName(enum.Enum):
    KEY = "api_key"


class SecretWord(enum.StrEnum):
    KEY = "api_key"


class SecretText(str):
    pass


class Settings(pydantic.BaseModel):
    api_key: str = "canary"


@dataclasses.dataclass
class Options:
    password: str = "canary"


class Pair(NamedTuple):
    password: str


@pytest.mark.parametrize("key", [SecretName.KEY, SecretWord.KEY, SecretText("api_key"), b"api_key", ("api_key", 1)])
def test_secret_values_are_hidden_under_keys_of_any_class(key: Any) -> None:
    """F22: the key is looked at as the text that is recorded."""
    writer = Sanitizer(redact=known_secrets())
    assert list(writer({key: "canary"}).values()) == [MASK]
    assert "canary" not in json.dumps([writer(one) for one in (Settings(), Options(), Pair("canary"))])


def test_keys_that_are_redacted_alike_stay_apart() -> None:
    """F22: dict keys are strings too."""
    out = Sanitizer(redact=lambda text: "x" if text.startswith("canary") else text)({"canary1": 1, "canary2": 2})
    assert out == {"x": 1, "x (2)": 2}


# --- everything that holds text -----------------------------------------------------------------------------------

CANARY = "canary-0815"


class Raising(Exception):
    def __str__(self) -> str:
        raise ValueError(CANARY)


class Key(str):
    pass


class Plainly(enum.Enum):
    KEY = CANARY


class Stringly(enum.StrEnum):
    KEY = CANARY


HOLDERS: list[Callable[[], Any]] = [
    lambda: CANARY,
    lambda: "x" * 3_000_000 + CANARY,
    lambda: CANARY + "x" * 3_000_000,
    lambda: [CANARY, (CANARY,), {CANARY}],
    lambda: {CANARY: CANARY},
    lambda: {(CANARY, 1): 1},
    lambda: ValueError(CANARY),
    lambda: Raising(),
    lambda: type(CANARY, (), {})(),
    lambda: type(CANARY, (Exception,), {})(),
    lambda: type(CANARY, (), {}),
    lambda: {Key(CANARY): 1, Plainly.KEY: Stringly.KEY, Stringly.KEY: Plainly.KEY, CANARY.encode(): Key(CANARY)},
    lambda: HumanMessage(CANARY, name=CANARY, id=CANARY),
    lambda: HumanMessage([{"type": "text", "text": CANARY}, {"type": "image", "url": f"https://h/{CANARY}"}]),
    lambda: AIMessage("", tool_calls=[{"name": CANARY, "args": {CANARY: CANARY}, "id": CANARY}]),
    lambda: AIMessage("", additional_kwargs={"reasoning_content": CANARY}),
    lambda: AIMessage("", response_metadata={"finish_reason": CANARY}),
    lambda: ToolMessage(CANARY, tool_call_id=CANARY),
    lambda: Document(page_content=CANARY, metadata={"source": CANARY}, id=CANARY),
    lambda: ChatMessage(CANARY, additional_kwargs={"tool_call_id": CANARY}),
    lambda: NodeWithScore(node=TextNode(text=CANARY, metadata={CANARY: CANARY}), score=1),
    lambda: {"type": "image", "url": f"https://h/{CANARY}", "detail": CANARY},
    lambda: f"data:text/{CANARY};base64," + "QUJD" * 100,
]


@pytest.mark.parametrize("make", HOLDERS)
def test_redactor_sees_every_text(make: Callable[[], Any]) -> None:
    """F2, F22: canaries."""
    writer = Sanitizer(redact=lambda text: text.replace(CANARY, "[gone]"))
    for write in (writer, writer.messages, lambda one: writer.found([one])):
        out = json.dumps(write(make()))
        assert CANARY not in out
    assert "[gone]" in json.dumps(writer(make()))


def fails(_text: str) -> str:
    raise ValueError("canary")


@pytest.mark.parametrize("redact", [fails, lambda _text: None, lambda _text: b"x", lambda text: int(text)])
@pytest.mark.parametrize("make", HOLDERS)
def test_redactor_that_fails_lets_nothing_through_and_is_counted(redact: Any, make: Callable[[], Any]) -> None:
    """F22: fail closed."""
    before = diagnostics.failures.total()
    out = json.dumps(Sanitizer(redact=redact)(make()))
    assert CANARY not in out
    assert FAILED in out
    assert diagnostics.failures.total() > before


def test_redactor_whose_keys_fail_hides_the_values() -> None:
    """F22: fail closed."""

    class Broken:
        def __call__(self, text: str) -> str:
            return text

        def hides_key(self, key: str) -> bool:
            raise ValueError(key)

    assert Sanitizer(redact=Broken())({"a": "canary"}) == {"a": MASK}


def test_secret_across_the_place_of_a_cut_is_not_kept_in_part() -> None:
    """F22: a text is redacted beyond what is kept of it."""
    half = (1 << 20) // 2
    for shift in range(0, 50, 7):
        secret, edge, middle = " password=" + "Z" * 40 + " ", "x" * (half - shift), "y" * 2_000_000
        assert "ZZ" not in Sanitizer(redact=known_secrets())(edge + secret + middle)
        assert "ZZ" not in Sanitizer(redact=known_secrets())(middle + secret + edge)


FLOODS: dict[str, Callable[[], str]] = {
    "sk": lambda: "sk-" * 350_000,
    "jwt": lambda: "eyJ" * 350_000,
    "jwt dotted": lambda: "eyJaaaaaaaa." * 90_000,
    "password": lambda: "password" * 130_000,
    "password=": lambda: "password=" * 110_000,
    "password:": lambda: "password : " * 95_000,
    "quotes": lambda: 'password="' * 100_000,
    "token": lambda: "token=1 " * 130_000,
    "urls": lambda: "://" * 350_000,
    "urls with users": lambda: "://" + "a" * 1_000_000,
    "colons": lambda: "://" + "a:" * 500_000,
    "mail": lambda: "a@" * 500_000,
    "mail long": lambda: "a" * 1_000_000 + "@",
    "mail hosts": lambda: "a@" + "a." * 500_000,
    "keys": lambda: "-----BEGIN PRIVATE KEY-----" * 38_000,
    "dashes": lambda: "-----BEGIN PRIVATE KEY-----" + "-" * 1_000_000,
    "bearer": lambda: "bearer " * 150_000,
    "bearer long": lambda: "bearer " + "a" * 1_000_000,
    "upper": lambda: "İ" + "PASSWORD " * 110_000,
    "prose": lambda: (
        "The fast_path brown fox jumps over the lazy dog. It asks: why? It's 3/4 well-known_text. " * 12_000
    ),
    "words": lambda: "a" * 1_000_000,
    "json": lambda: json.dumps([{"id": n, "text": "word", "token": "x"} for n in range(25_000)]),
}


@pytest.mark.parametrize("name", FLOODS)
def test_time_is_linear_whatever_the_text(name: str) -> None:
    """F20: 50 ms per MB on a machine of its own; on a busy one twenty times that, which nothing quadratic keeps."""
    text = FLOODS[name]()
    redact = known_secrets(email=True)
    took = []
    for _ in range(3):
        began = time.thread_time()
        redact(text)
        took.append(time.thread_time() - began)
        if took[-1] < max(1.0, len(text) / 1e6):
            return
    pytest.fail(f"{len(text)} characters took {took} s")


OWN = 'key-0aB/"\\%+=&9'


def spellings() -> dict[str, str]:
    """A key as answers may echo it."""
    codes = [ord(one) for one in OWN]
    quoted = json.dumps(OWN)[1:-1]
    return {
        "as it is": OWN,
        "JSON": quoted,
        "JSON in JSON": json.dumps(quoted)[1:-1],
        "JSON with slashes": quoted.replace("/", "\\/"),
        "unicode": "".join(f"\\u{code:04x}" for code in codes),
        "UNICODE": "".join(f"\\u{code:04X}" for code in codes),
        "unicode in JSON": json.dumps("".join(f"\\u{code:04x}" for code in codes))[1:-1],
        "JavaScript": "".join(f"\\u{{{code:x}}}" for code in codes),
        "hex": "".join(f"\\x{code:02x}" for code in codes),
        "percent": quote(OWN),
        "all percent": "".join(f"%{code:02X}" for code in codes),
        "percent twice": quote(quote(OWN)),
        "old percent": "".join(f"%u{code:04x}" for code in codes),
        "HTML": html.escape(OWN),
        "HTML numbers": "".join(f"&#{code};" for code in codes),
        "HTML hex": "".join(f"&#x{code:04X};" for code in codes),
        "HTML twice": "".join(f"&amp;#x{code:x};" for code in codes),
        "mail": "".join(f"={code:02X}" for code in codes),
        "lower": OWN.lower(),
        "some": "\\u006b%65y-" + OWN[4:],
    }


@pytest.mark.parametrize("name", spellings())
def test_an_own_key_is_masked_however_it_is_spelled(name: str) -> None:
    """A vendor that echoes it in its words."""
    text = f"bad key {spellings()[name]}, sorry"
    assert masking(OWN)(text) == f"bad key {MASK}, sorry"
    assert masking(OWN)(text * 3).count(MASK) == 3


def test_masking_changes_nothing_else_and_takes_time_by_length_only() -> None:
    """Also where there is no key, and in texts made to mislead."""
    mask = masking(OWN)
    for text in ("", "key-0aB", "\\u006bey", OWN[:-1]):
        assert mask(text) == text
        assert masking("")(text) == text
    began = time.monotonic()
    for piece in ("\\", "%25", "&amp;", "&#0", "\\u0", OWN[:-1], "k"):
        mask(piece * (200_000 // len(piece)))
    assert time.monotonic() - began < 2


def mask_that_returns_none(text: str) -> Any:
    return None


class CallableMask:
    def __call__(self, text: str) -> str:
        raise LookupError(text)


REDACTORS: dict[str, tuple[Any, str]] = {
    "returns no text": (mask_that_returns_none, "mask_that_returns_none ("),
    "raises": (CallableMask(), "CallableMask.__call__ ("),
    "partial": (partial(mask_that_returns_none), "mask_that_returns_none ("),
    "builtin": (int, "type"),
}


@pytest.mark.parametrize("name", REDACTORS)
def test_a_redactor_that_fails_is_named_by_the_users_function(name: str, caplog: pytest.LogCaptureFixture) -> None:
    redact, words = REDACTORS[name]
    with caplog.at_level("WARNING", "eventtree"):
        assert sanitize("secret", redact=redact) == FAILED
    (line,) = [one.getMessage() for one in caplog.records]
    assert f" in redact at {words}" in line
    assert ("test_redact.py:" in line) is (name != "builtin")
    assert "eventtree/content/" not in line
    assert line.endswith("Your app is unaffected; what it fails on is replaced")
    assert "secret" not in line
