"""LlamaIndex's built-in model: as `chat_model`, with usage where OpenAI's class of LlamaIndex leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.generic_utils import chat_to_completion_decorator, stream_chat_to_completion_decorator
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

from eventtree.demo.chat_model import ANSWERING_MODEL, MODEL
from eventtree.demo.language import Meter, answer, pieces, read_prompt


class DocumentLLM(CustomLLM):
    """Answers with sentences of the documents."""

    model: str = MODEL
    temperature: float = 0.0
    meter: Meter = Field(default_factory=Meter, exclude=True)

    @property
    def metadata(self) -> LLMMetadata:
        """Read by the framework before it builds a prompt."""
        return LLMMetadata(context_window=128_000, num_output=512, is_chat_model=True, model_name=self.model)

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
        return chat_to_completion_decorator(lambda messages: list(self._answer(messages))[-1])(prompt)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The answer to a prompt, word by word."""
        return stream_chat_to_completion_decorator(self._answer)(prompt)

    def _answer(self, messages: Sequence[ChatMessage]) -> ChatResponseGen:
        text = answer(*read_prompt((messages[-1].content if messages else "") or ""))
        used = self.meter.measure("\n".join(message.content or "" for message in messages), text)
        usage = {
            "prompt_tokens": used.input,
            "completion_tokens": used.output,
            "total_tokens": used.input + used.output,
            "prompt_tokens_details": {"cached_tokens": used.cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        so_far = ""
        for piece, figures in [*((piece, None) for piece in pieces(text)), ("", usage)]:
            so_far += piece
            message = ChatMessage(role=MessageRole.ASSISTANT, content=so_far)
            yield ChatResponse(message=message, delta=piece, raw={"model": ANSWERING_MODEL, "usage": figures})
