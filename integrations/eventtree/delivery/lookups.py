"""Looking up the ids that fill the `{names}` in a vendor's paths, and masking texts of its replies.

An id is looked up once, before the first request that needs it, and remembered in the vendor's cursor.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from eventtree.content import known_secrets, masking
from eventtree.delivery.dead_letters import WORDS
from eventtree.delivery.gate import Gate
from eventtree.delivery.http import Reply
from eventtree.delivery.retry import Act, act_of
from eventtree.errors import RequestError
from eventtree.journal.cursor import Cursor
from eventtree.serializer.packing import fill, names_in
from eventtree.serializer.requests import Lookup, Request
from eventtree.serializer.vendor import Vendor, json_in

Ask = Callable[[Request], Awaitable[Reply]]

LOOKED_AT = 1 << 16
"""Bytes of a reply's text that are searched for the vendor's key."""
OWN_NAME = ":"
"""Part of a lookup's name that holds a value of the tree itself (`{kind:VALUE}`)."""
ID = re.compile(r"[A-Za-z0-9._~:@=+-]{1,256}")
"""The form of a vendor's ids. Anything else (a page of HTML, a line break) is not used."""


class RefusedNameError(Exception):
    """The vendor refuses a name in the tree itself (its experiment), which no setting can change."""

    def __init__(self, reply: Reply) -> None:
        """The error of a reply."""
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


class Replies:
    """Texts of a vendor's replies, made safe for disk and logs: some vendors echo the key they refuse."""

    def __init__(self, vendor: Vendor) -> None:
        """Mask the vendor's secrets, and texts that look like one."""
        self._vendor = vendor
        self._masks = [masking(secret) for secret in vendor.secrets()]
        self._mask_secrets = known_secrets()

    def words(self, reply: Reply) -> str:
        """The beginning of a reply's text, masked."""
        # Masked before it is shortened: half a key would not be found.
        text = self._vendor.words_in(reply.body[:LOOKED_AT]).decode("utf-8", "replace").replace("\0", "�")
        return self.masked(text)[:WORDS]

    def masked(self, text: str) -> str:
        """The text without secrets."""
        return self._mask_secrets(self._mask_keys(text))

    def is_id(self, text: str) -> bool:
        """Whether a text is a valid id: an answer may hold anything in its place, even the key."""
        return ID.fullmatch(text) is not None and self._mask_keys(text) == text

    def _mask_keys(self, text: str) -> str:
        for mask in self._masks:
            text = mask(text)
        return text


class Lookups:
    """The `{names}` in a vendor's paths, and their values in the cursor."""

    def __init__(self, vendor: Vendor, cursor: Callable[[], Cursor], replies: Replies, ask: Ask, gate: Gate) -> None:
        """`ask` sends a request and returns its answer; `cursor` returns the vendor's cursor."""
        self._vendor = vendor
        self._cursor = cursor
        self._replies = replies
        self._ask = ask
        self._gate = gate
        self._looking = asyncio.Lock()

    async def url(self, made: Request) -> str:
        """A request's address with all names filled in.

        Raises:
            RequestError: the value of a name cannot be looked up now.
            RefusedNameError: the vendor refuses a name.
        """
        names, always = names_in(made.url), self._vendor.lookups()
        if not names and not always:
            return made.url
        asked = (self._vendor.lookup_of(name) for name in names)
        # One at a time: the first request of many learns the id, the others find it known.
        async with self._looking:
            for lookup in (*always, *(found for found in asked if found is not None)):
                if lookup.name not in self._cursor().learned:
                    await self._look_up(lookup)
        return fill(made.url, self._cursor().learned)

    def unlearn(self, made: Request) -> bool:
        """Forget the looked-up values in this request's address; False if there are none."""
        learned = self._cursor().learned
        names = {lookup.name for lookup in self._vendor.lookups()} | set(names_in(made.url))
        stale = [name for name in names if name in learned and self._vendor.lookup_of(name) is not None]
        if stale:
            self._cursor().unlearn(stale)
        return bool(stale)

    async def _look_up(self, lookup: Lookup) -> None:
        known = self._cursor().learned
        content, path = fill(lookup.content.decode(), known).encode(), fill(lookup.path, known)
        reply = await self._ask(Request(lookup.method, self._vendor.base_url + path, content, (), _JSON))
        if not 200 <= reply.status < 300:
            act = act_of(reply.status, self._vendor.status_actions, idempotent=True)
            if act is Act.BISECT and OWN_NAME in lookup.name:
                raise RefusedNameError(reply)
            if act is not Act.RETRY:
                self._gate.park(f"HTTP {reply.status} when looking up {lookup.name}: {self._replies.words(reply)}")
            failed = RequestError(f"HTTP {reply.status} when looking up {lookup.name}")
            failed.headers = reply.headers
            raise failed
        found = lookup.read(json_in(reply.body))
        if not found or not self._replies.is_id(found):
            raise RequestError(f"no {lookup.name} in the answer")
        self._cursor().learn({lookup.name: found})


_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
