"""Other handlers for LangChain, those that are installed, each shipping to a server on loopback that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Shipping = tuple[Any, Callable[[], Any]]
"""A handler, and what waits until it has shipped."""


def langsmith(url: str) -> Shipping:
    """LangChain's own tracer."""
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    client = Client(api_url=url, api_key="k")
    return LangChainTracer(client=client), client.flush


def langfuse(url: str) -> Shipping:
    """Langfuse's handler."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="k", secret_key="k", host=url)
    return CallbackHandler(public_key="k"), client.flush


def openinference(url: str) -> Shipping:
    """OpenInference's tracer over OTLP."""
    from openinference.instrumentation import OITracer, TraceConfig
    from openinference.instrumentation.langchain._tracer import OpenInferenceTracer
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    # A queue for all that is measured: it drops what does not fit.
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
    tracer = OITracer(provider.get_tracer("bench"), config=TraceConfig())
    return OpenInferenceTracer(tracer, separate_trace_from_runtime_context=False), provider.force_flush


PEERS: Mapping[str, Callable[[str], Shipping]] = {
    "langsmith": langsmith,
    "langfuse": langfuse,
    "openinference": openinference,
}


def peers(url: str) -> dict[str, Shipping]:
    """Those that are installed."""
    found: dict[str, Shipping] = {}
    for name, make in PEERS.items():
        try:
            found[name] = make(url)
        except ImportError as error:
            print(f"{name} is not measured: {error}")
    return found
