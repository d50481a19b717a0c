"""Models of LlamaIndex for tests: real subclasses that answer from what they are sent, stream, and report usage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    ToolCallBlock,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


class Echo(CustomLLM):
    """Answers `words`, one word a chunk; reports usage at the end; raises `fails` after that many chunks."""

    model: str = "gpt-4o-mini"
    temperature: float = 0.5
    words: list[str] = ["the ", "answer ", "is ", "here"]
    fails: int | None = None
    api_key: str = "sk-secretsecretsecret0123456789"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if self.fails is not None:
            raise ValueError("the model is down")
        return CompletionResponse(text="".join(self.words), raw={"usage": USAGE, "model": f"{self.model}-2024-07-18"})

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        def chunks() -> Generator[CompletionResponse, None, None]:
            text = ""
            for number, word in enumerate(self.words):
                if number == self.fails:
                    raise ValueError("the model is down")
                text += word
                is_last = number == len(self.words) - 1
                yield CompletionResponse(text=text, delta=word, raw={"usage": USAGE} if is_last else {})

        return chunks()


class Caller(FunctionCallingLLM):
    """Calls the tool named in `calls` as long as the last message is no tool's; then says what the tool said."""

    model: str = "gpt-4o"
    calls: list[tuple[str, dict[str, Any]]] = []

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model, is_chat_model=True, is_function_calling_model=True)

    def answer(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        done = sum(message.role == "tool" for message in messages)
        if done < len(self.calls):
            name, arguments = self.calls[done]
            call = ToolCallBlock(tool_call_id=f"call_{done}", tool_name=name, tool_kwargs=arguments)
            return ChatMessage(role="assistant", blocks=[call])
        return ChatMessage(role="assistant", content=f"it is {messages[-1].content}")

    def response(self, messages: Sequence[ChatMessage], delta: str | None = None) -> ChatResponse:
        return ChatResponse(message=self.answer(messages), delta=delta, raw={"usage": USAGE})

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self.response(messages)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self.response(messages)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse, None, None]:
        def chunks() -> Generator[ChatResponse, None, None]:
            yield self.response(messages, self.answer(messages).content or "")

        return chunks()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> AsyncGenerator[ChatResponse, None]:
        async def chunks() -> AsyncGenerator[ChatResponse, None]:
            yield self.response(messages, self.answer(messages).content or "")

        return chunks()

    def complete(self, prompt: str, **kwargs: Any) -> Any: ...
    def stream_complete(self, prompt: str, **kwargs: Any) -> Any: ...
    async def acomplete(self, prompt: str, **kwargs: Any) -> Any: ...
    async def astream_complete(self, prompt: str, **kwargs: Any) -> Any: ...

    def _prepare_chat_with_tools(self, tools: Any, chat_history: Any = None, **kwargs: Any) -> dict[str, Any]:
        return {"messages": list(chat_history or ()), "tools": [tool.metadata.to_openai_tool() for tool in tools]}

    def get_tool_calls_from_response(self, response: ChatResponse, **kwargs: Any) -> list[ToolSelection]:
        return [
            ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=block.tool_kwargs)
            for block in response.message.blocks
            if isinstance(block, ToolCallBlock)
        ]
