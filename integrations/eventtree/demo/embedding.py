"""A deterministic embedding for both frameworks: each word adds to one dimension, chosen by its hash."""

from __future__ import annotations

import math
from collections import Counter
from hashlib import blake2b

from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding

from eventtree.demo.language import words

DIMENSIONS = 1024


def embed(text: str) -> list[float]:
    """A vector of length 1; texts that share words are similar."""
    vector = [0.0] * DIMENSIONS
    for word, count in Counter(words(text)).items():
        at = int.from_bytes(blake2b(word.encode(), digest_size=4).digest()) % (DIMENSIONS - 1)
        vector[at + 1] += math.sqrt(count)
    vector[0] = 0.0 if any(vector) else 1.0  # for texts without a word
    length = math.hypot(*vector)
    return [value / length for value in vector]


class WordEmbedding(BaseEmbedding, Embeddings):
    """The embedding of both frameworks: LlamaIndex calls the first three methods, LangChain the last two."""

    model_name: str = "hashed-words"

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The question's vector."""
        return embed(text)
