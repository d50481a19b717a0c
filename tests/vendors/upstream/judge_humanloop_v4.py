"""humanloop 0.7.35: its own schemas (what its client checks before it sends) and its pydantic models."""

from typing import Any

from humanloop.model.create_evaluation_log_request import CreateEvaluationLogRequest as EvaluationLogSchema
from humanloop.model.feedback_submit_request import FeedbackSubmitRequest as FeedbackSchema
from humanloop.model.log_datapoint_request import LogDatapointRequest as LogsSchema
from humanloop.model.update_log_request import UpdateLogRequest as UpdateSchema
from humanloop.pydantic.feedback_request import FeedbackRequest
from humanloop.pydantic.log_request import LogRequest
from humanloop.pydantic.update_log_request import UpdateLogRequest
from judge import judge, known


def check(method: str, path: str, body: Any) -> None:
    if (method, path) == ("PATCH", "/v4/logs"):
        known(body, UpdateLogRequest.model_fields, "update")
        UpdateSchema.from_openapi_data_oapg(body)
        UpdateLogRequest.model_validate(body)
        return
    if method != "POST":
        raise ValueError(method)
    if path == "/v4/feedback":
        FeedbackSchema.from_openapi_data_oapg(body)
        for item in body:
            known(item, FeedbackRequest.model_fields, "feedback")
            FeedbackRequest.model_validate(item)
    elif path.startswith("/v4/evaluations/"):
        known(body, ("datapoint_id", "log"), path)
        EvaluationLogSchema.from_openapi_data_oapg(body)
        check_log(body["log"])
    elif path == "/v4/logs":
        LogsSchema.from_openapi_data_oapg(body)
        for log in body:
            check_log(log)
    else:
        raise ValueError(path)


def check_log(log: Any) -> None:
    known(log, LogRequest.model_fields, "log")
    LogRequest.model_validate(log)


LOG = {"project": "p", "config": {"type": "tool", "name": "n"}}
judge(
    check,
    [
        ("POST", "/v4/logs", [{**LOG, "output": None}]),
        ("POST", "/v4/logs", [{**LOG, "output": {"a": 1}}]),
        ("POST", "/v4/logs", [{**LOG, "user": "ada"}]),
        ("POST", "/v4/logs", [{**LOG, "config": {"type": "generic", "name": "n"}}]),
        ("POST", "/v4/logs", [{**LOG, "config": {"type": "model", "model": "m", "provider": "elsewhere"}}]),
        ("POST", "/v4/logs", [{**LOG, "created_at": "yesterday"}]),
        ("POST", "/v4/feedback", [{"value": "good"}]),
        ("PATCH", "/v4/logs", {"output": 7}),
        ("PATCH", "/v4/logs", {"metadata": {}}),
        ("POST", "/v4/evaluations/ev_1/log", {"log": LOG}),
    ],
)
