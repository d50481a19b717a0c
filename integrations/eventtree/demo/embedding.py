"""A deterministic embedding for both frameworks: hashed words, weighed by their rarity among the documents."""

from __future__ import annotations

import math
from collections import Counter
from hashlib import blake2b

from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import PrivateAttr

from eventtree.demo.words import Rarity, words

DIMENSIONS = 1024


def embed(text: str, rarity: Rarity) -> list[float]:
    """A vector of length 1; texts that share rare words point the same way."""
    vector = [0.0] * DIMENSIONS
    for word, count in Counter(words(text)).items():
        place = int.from_bytes(blake2b(word.encode(), digest_size=4).digest()) % (DIMENSIONS - 1)
        vector[place + 1] += (1 + math.log(count)) * rarity(word)
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        vector[0] = length = 1.0  # a direction of its own, for texts without a word
    return [value / length for value in vector]


class WordEmbeddings(Embeddings):
    """For LangChain."""

    def __init__(self, rarity: Rarity) -> None:
        """Weigh words by `rarity`."""
        self._rarity = rarity

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return [embed(text, self._rarity) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The question's vector."""
        return embed(text, self._rarity)


class WordEmbedding(BaseEmbedding):
    """For LlamaIndex."""

    _rarity: Rarity = PrivateAttr()

    def __init__(self, rarity: Rarity) -> None:
        """Weigh words by `rarity`."""
        super().__init__(model_name="hashed-words")
        self._rarity = rarity

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text, self._rarity)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query, self._rarity)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query, self._rarity)
