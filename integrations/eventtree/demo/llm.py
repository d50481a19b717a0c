"""LlamaIndex's built-in model: as `chat_model`, with usage where OpenAI's class of LlamaIndex leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import Field

from eventtree.demo.answer import answer, read_prompt
from eventtree.demo.chat_model import ANSWERING_MODEL, MODEL
from eventtree.demo.tokens import Meter, Used, chunks

CONTEXT_WINDOW = 128_000


class DocumentLLM(CustomLLM):
    """Answers with sentences of the documents."""

    model: str = MODEL
    temperature: float = 0.0
    meter: Meter = Field(default_factory=Meter, exclude=True)

    @property
    def metadata(self) -> LLMMetadata:
        """What the framework asks before it builds a prompt."""
        return LLMMetadata(context_window=CONTEXT_WINDOW, num_output=512, is_chat_model=True, model_name=self.model)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer at once."""
        return list(self._answer(messages))[-1]

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer word by word; the last chunk brings the usage."""
        return self._answer(messages)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The whole answer to a prompt."""
        return [*self._complete(prompt)][-1]

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The answer to a prompt, word by word."""
        return self._complete(prompt)

    def _complete(self, prompt: str) -> CompletionResponseGen:
        for reply in self._answer([ChatMessage(role=MessageRole.USER, content=prompt)]):
            yield CompletionResponse(text=reply.message.content or "", delta=reply.delta, raw=reply.raw)

    def _answer(self, messages: Sequence[ChatMessage]) -> ChatResponseGen:
        text = answer(*read_prompt((messages[-1].content if messages else "") or ""))
        prompt = "\n".join(f"{message.role.value}: {message.content}" for message in messages)
        used = self.meter.measure(prompt, text)
        said = ""
        for piece in chunks(text):
            said += piece
            yield _reply(said, piece, {"model": ANSWERING_MODEL, "usage": None})
        yield _reply(said, "", {"model": ANSWERING_MODEL, "usage": _usage(used)})


def _reply(said: str, delta: str, raw: dict[str, Any]) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=said), delta=delta, raw=raw)


def _usage(used: Used) -> dict[str, Any]:
    return {
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": {"cached_tokens": used.cached},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
