"""humanloop 0.8.38: a trace from its opening to a judgment."""

import sys
import uuid

from client import play
from humanloop import Humanloop

client = Humanloop(api_key="key", base_url=f"{sys.argv[1]}/v5")
FLOW, PROMPT, TOOL = (str(uuid.uuid4()) for _ in range(3))
KERNEL = {"model": "gpt-4.1", "provider": "openai"}
FUNCTION = {"function": {"name": "f", "description": "A function."}}


def stray(name):
    """A key that the schema does not have."""
    return {"additional_body_parameters": {name: ["a"]}}


def status(error):
    """Its own wrapper says nothing but holds the cause."""
    return (error if hasattr(error, "status_code") else error.__cause__).status_code


play(
    right=[
        lambda: client.flows.log(path="p/flow", flow={"attributes": {}}, log_id=FLOW, log_status="incomplete"),
        lambda: client.prompts.log(
            path="p/prompt", prompt=KERNEL, log_id=PROMPT, trace_parent_id=FLOW, output="out", prompt_tokens=3,
            messages=[{"role": "user", "content": "in"}], provider_latency=0.5,
        ),
        lambda: client.tools.log(path="p/tool", tool=FUNCTION, log_id=TOOL, trace_parent_id=FLOW, inputs={"a": 1}),
        lambda: client.flows.update_log(FLOW, log_status="complete", output="out", inputs={}),
        lambda: client.evaluators.log(path="rating", parent_id=PROMPT, judgment="good"),
    ],
    wrong=[
        lambda: client.prompts.log(path="p/prompt", prompt=KERNEL, output="out", request_options=stray("tags")),
        lambda: client.tools.log(path="p/tool", tool=FUNCTION, trace_parent_id=str(uuid.uuid4())),
        lambda: client.tools.log(path="p/tool", tool=FUNCTION, trace_parent_id=FLOW),
        lambda: client.flows.log(path="p/flow", flow={"attributes": {}}, request_options=stray("trace_status")),
        lambda: client.evaluators.log(path="rating", parent_id=str(uuid.uuid4()), judgment="good"),
    ],
    status=status,
)  # fmt: skip
