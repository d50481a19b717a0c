"""Redactors: text in, text out, run once on every string that is recorded, dict keys included.

A redactor is any callable of one str. It may also have a method `hides_key(key) -> bool`; the values under such keys
are replaced whole. A redactor that raises, or does not return a str, fails closed (`FailClosed` in walk.py).

`known_secrets` finds secrets with a known beginning. It searches for the fixed beginning of each kind (a substring
search, almost free if there is none) and only there tries one anchored pattern. No pattern can run over the same text
twice, so the time is linear in any text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import lru_cache

from eventtree.content.walk import MASK, Redactor

Span = tuple[int, int]

# --- what secrets look like ---------------------------------------------------------------------------------------

START = r"(?<![A-Za-z0-9_-])"  # tokens begin at a boundary, so each run of token characters is tried at most once
SOLID = r"(?=[A-Za-z_-]{0,64}[0-9])"  # a digit soon: `sk-learn-pipelines-and-more` is no key


Rule = tuple[str, re.Pattern[str]]
"""A beginning, and the pattern that is tried there. Its group 1, if any, is replaced, else the whole match."""


def token(start: str, rest: str) -> Rule:
    """A token that begins with `start` at a boundary."""
    return start, re.compile(START + re.escape(start) + rest)


WORD = r"[A-Za-z0-9_-]"
NAMED = r"[A-Za-z0-9_]"

GROUPS: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    ("-", (
        token("sk-", SOLID + WORD + r"{16,}"),  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse, LiteLLM
        token("xox", r"[abeoprs](?:\.[a-z]+)?-[A-Za-z0-9-]{10,}"),  # Slack
        token("xapp-", r"[A-Za-z0-9-]{10,}"),  # Slack
        token("glpat-", WORD + r"{18,}"),  # GitLab
        token("pypi-", WORD + r"{32,}"),  # PyPI
        token("xai-", SOLID + WORD + r"{20,}"),  # xAI
        token("pplx-", SOLID + WORD + r"{20,}"),  # Perplexity
        token("tvly-", SOLID + WORD + r"{16,}"),  # Tavily
        token("GOCSPX-", WORD + r"{20,}"),  # Google OAuth client
        token("AGE-SECRET-KEY-", r"[A-Z0-9]{40,}"),  # age
        ("-----BEGIN ", re.compile(  # a key cut off before its end is still a key: to the end of what can belong to it
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.()]*"
            r"(?:-[A-Za-z0-9+/=\s\\:,.()]+)*(?:-----END [A-Z0-9 ]{0,40}-----)?"
        )),
    )),
    ("_", (
        *(token(f"gh{kind}_", NAMED + r"{30,}") for kind in "pousr"),  # GitHub
        token("github_pat_", NAMED + r"{30,}"),
        *(token(f"{kind}_{mode}_", NAMED + r"{16,}") for kind in ("sk", "rk") for mode in ("live", "test")),  # Stripe
        token("whsec_", r"[A-Za-z0-9+/=]{20,}"),  # Stripe, Svix
        token("lsv2_", r"(?:pt|sk)_[A-Za-z0-9_]{20,}"),  # LangSmith
        token("pcsk_", NAMED + r"{30,}"),  # Pinecone
        token("dop_v1_", r"[a-f0-9]{40,}"),  # DigitalOcean
        *(token(f"shp{kind}_", r"[A-Fa-f0-9]{32,}") for kind in ("at", "ca", "pa", "ss")),  # Shopify
        token("sbp_", r"[a-f0-9]{40,}"),  # Supabase
        token("figd_", WORD + r"{30,}"),  # Figma
        token("glsa_", NAMED + r"{30,}"),  # Grafana
        # Hugging Face, Groq, npm, Replicate, Linear, Notion
        *(token(f"{kind}_", r"[A-Za-z0-9]{30,}") for kind in ("hf", "gsk", "npm", "r8", "lin_api", "ntn")),
    )),
    (".", (
        token("eyJ", r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),  # JWT
        token("SG.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),  # SendGrid
        token("ya29.", r"[A-Za-z0-9_-]{20,}"),  # Google OAuth
        token("hvs.", r"[A-Za-z0-9_-]{20,}"),  # Vault
    )),
    ("/", (
        # https://user:password@host: the password; https://token@host: the token
        ("://", re.compile(r"://[^\s/?#@:\"'<>]{0,256}:([^\s/?#@\"'<>]{1,512})@")),
        ("://", re.compile(r"://([^\s/?#@:\"'<>]{16,512})@")),
        ("hooks.slack.com/services/", re.compile(r"hooks\.slack\.com/services/([A-Za-z0-9/]{10,})")),
    )),
    ("A", (
        *(token(start, r"[A-Z0-9]{16}(?![A-Z0-9])") for start in ("AKIA", "ASIA")),  # AWS
        token("AIza", WORD + r"{35}"),  # Google
    )),
    ("dapi", (token("dapi", r"[a-f0-9]{32}"),)),  # Databricks
)  # fmt: skip
"""A character that all tokens of a group contain, and the tokens: secrets with a fixed beginning."""

# name = value, "name": "value", \"name\": \"value\", name: value, ?name=value — after the name's last word
SET = r"(?:[_-][\w-]{0,24})?\\?[\"']?[ \t]{0,4}(?:=>|:=|=|:)[ \t]{0,4}"
QUOTED = r"""(?:\\"((?:[^"\\\n]|\\[^"\n])+)|"((?:[^"\\\n]|\\.)+)|'((?:[^'\\\n]|\\.)+)"""
BEARER = r"(?:(?:bearer|basic|token|digest|apikey)[ \t]+)?"
PLAIN = r"[^\s\"'`,;&{}\[\]()<>\\]"


def setting(rest: str) -> re.Pattern[str]:
    """The pattern after a word such as `password`: a sign and a value, quoted or in the form of `rest`."""
    return re.compile(f"(?i:{SET}{BEARER}){QUOTED}|({rest}))")


STRONG = setting(PLAIN + r"{4,}")
WEAK = setting(rf"(?=[^\s\"'`,;&{{}}\[\]()<>\\]{{0,64}}[A-Za-z]){PLAIN}{{12,}}")
SETTINGS: tuple[Rule, ...] = (
    *((word, STRONG) for word in ("password", "passwd", "passphrase", "pwd", "secret", "authorization", "credential")),
    *((word, STRONG) for word in ("api_key", "api-key", "apikey", "access_key", "access-key", "accesskey")),
    *((word, STRONG) for word in ("private_key", "privatekey", "accountkey", "signing_key", "encryption_key")),
    *((word, WEAK) for word in ("token", "signature", "cookie", "?key", "&key", "sig")),
)
"""Words (in lower case) before a secret value. After the weak ones, the value must also look like a secret."""

SCHEMES: tuple[Rule, ...] = (
    ("bearer ", re.compile(r"(?=[A-Za-z._~+/=-]{0,64}[0-9])([A-Za-z0-9._~+/=-]{12,})")),
    ("basic ", re.compile(r"(?=[A-Za-z+/]{0,64}[0-9=])([A-Za-z0-9+/]{12,}={0,2})")),
)
"""Words (in lower case) before a credential in a header."""

EMAIL_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
EMAIL_HOST = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")

# --- what keys of secret values look like -------------------------------------------------------------------------

HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
SECRET_WORDS = re.compile(
    r"password|passwd|passphrase|(?:^|_)(?:pwd|secrets?|credentials?|authorization|auth|cookies?|bearer|jwt|dsn)(?:_|$)"
    r"|(?:^|_)(?:api|access|account|private|secret|signing|encryption|master|service|ssh|license)_?keys?(?:_|$)"
    r"|connection_string|set_cookie"
)
TOKEN_WORD = re.compile(r"(?:^|_)token$|^(?:auth|access|api|refresh|id|bearer|session|csrf|xsrf)_?tokens?$")
COUNTED = re.compile(
    r"(?:^|_)(?:max|min|num|total|first|last|next|prev|page|pad|eos|bos|unk|sep|cls|mask|stop|start|end|per|new|special"
    r"|text|continuation|cost|price|usd|to|each|input|output|prompt|completion|reasoning|cached|audio)_token$"
)
HARMLESS = re.compile(
    r"_(?:counts?|length|len|limit|type|name|required|enabled|valid|policy|usage|expir\w*|at|url|uri|method|mode|status)$"
)


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Whether the words of a key mean that its value is secret; a count of tokens is not."""
    name = HUMPS.sub("_", key).strip("_").lower()
    if HARMLESS.search(name):
        return False
    return bool(SECRET_WORDS.search(name) or (TOKEN_WORD.search(name) and not COUNTED.search(name)))


LONGEST_KEY = 64

SHORTEST = 8
"""No shorter text contains a secret that can be recognized."""


class KnownSecrets:
    """The built-in redactor: replaces API keys, tokens, passwords, private keys, and credentials in URLs and headers
    that have a known form, and all values under keys that name a secret.

    `email=True` replaces e-mail addresses too. `also` is another redactor, which gets the text afterwards.
    """

    __slots__ = ("also", "email")

    def __init__(self, *, email: bool = False, also: Redactor | None = None) -> None:
        """Replace e-mail addresses too if `email`; pass the result to `also`."""
        self.email = email
        self.also = also

    def hides_key(self, key: str) -> bool:
        """Whether the value under `key` is replaced whole."""
        return len(key) <= LONGEST_KEY and is_secret_key(key)

    def __call__(self, text: str) -> str:
        """`text` with every secret in it replaced."""
        if len(text) >= SHORTEST:
            spans: list[Span] = []
            for sign, tokens in GROUPS:
                if sign in text:
                    find(text, text, tokens, spans)
            lowered = lower(text)
            if "=" in text or ":" in text:
                find(text, lowered, SETTINGS, spans, behind=True)
            find(text, lowered, SCHEMES, spans, behind=True)
            if self.email and "@" in text:
                spans.extend(email_spans(text))
            if spans:
                text = masked(text, spans)
        return text if self.also is None else self.also(text)


known_secrets = KnownSecrets


def masking(secret: str) -> Redactor:
    """A redactor that replaces one given secret, however it is escaped.

    A server that echoes a key may have escaped it, even several times: as JSON, in a URL, in HTML or in a mail.
    """
    if not secret:
        return str
    pattern = re.compile("".join(map(spelled, secret)), re.IGNORECASE)
    return lambda text: pattern.sub(MASK, text)


def spelled(character: str) -> str:
    """The pattern of a character as it is, or escaped."""
    code = ord(character)
    escapes = (
        rf"\\{{1,8}}u\{{?0*{code:x}\}}?",  # JSON, JavaScript, also within a text within JSON
        rf"\\{{1,8}}x{code:02x}",
        rf"%(?:25){{0,4}}(?:u00)?{code:02x}",  # a URL, also one that is a parameter of another
        rf"&(?:amp;){{0,4}}#(?:x0*{code:x}|0*{code});?",
        rf"={code:02x}",
        *({re.escape(html.escape(character))} - {re.escape(character)}),
        (r"\\{0,8}" if character != "\\" else r"\\{0,7}") + re.escape(character),
    )
    return f"(?>{'|'.join(escapes)})"  # tried once: the time is linear in the text


def find(text: str, lookup: str, rules: tuple[Rule, ...], spans: list[Span], *, behind: bool = False) -> None:
    """Add the spans of all matches of the rules' patterns, each at its beginning in `lookup` or `behind` it."""
    for start, pattern in rules:
        at = lookup.find(start)
        while at >= 0:
            found = pattern.match(text, at + len(start) if behind else at)
            end = at + len(start)
            if found:
                span = found.span(found.lastindex or 0)
                spans.append(span)
                end = max(end, span[1])
            at = lookup.find(start, end)


def email_spans(text: str) -> Iterator[Span]:
    """The spans of e-mail addresses."""
    at = text.find("@")
    while at >= 0:
        found = EMAIL_HOST.match(text, at)
        begin = at
        while found and begin > max(0, at - 64) and text[begin - 1] in EMAIL_LOCAL:
            begin -= 1
        if found and begin < at:
            yield begin, found.end()
        at = text.find("@", found.end() if found else at + 1)


UPPER_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def lower(text: str) -> str:
    """`text` in lower case, with every character at its old position."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.translate(UPPER_TO_LOWER)


def masked(text: str, spans: list[Span]) -> str:
    """`text` with the spans, which may overlap, replaced."""
    pieces: list[str] = []
    done = 0
    for begin, end in sorted(spans):
        if begin >= done:
            pieces += (text[done:begin], MASK)
            done = end
        elif end > done:  # overlaps the one before: one mask for both
            done = end
    pieces.append(text[done:])
    return "".join(pieces)
