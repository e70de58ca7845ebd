"""What routes give back: records as JSON, and errors in their one shape."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from schemas.errors import IsophoteError
from schemas.http import ErrorAnswer
from service.errors import PARAMETER_STATUS, answer_of, error_answer

_CODES = {404: "not_found", 405: "method", 413: "too_large"}


def json_answer(record: BaseModel, *, status: int = 200) -> Response:
    """Return a record as JSON.

    FastAPI would validate it once more: half a millisecond for 100 photos.
    """
    return Response(record.model_dump_json(), status, media_type="application/json")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how a route's refusals are described in the OpenAPI document."""
    return {
        status: {"model": ErrorAnswer, "description": _DESCRIPTIONS[status]} for status in statuses
    }


_DESCRIPTIONS = {
    400: "A query or a filter that cannot be used.",
    403: "The server was not started for changes, or the request comes from another site.",
    404: "There is no such photo.",
    408: "The body came too slowly.",
    409: "Another process writes to the collection.",
    410: "The photo's file is gone, or has changed since it was indexed.",
    413: "The body is too large.",
    422: "A parameter out of its range, or a photo that cannot be decoded.",
    501: "A package is not installed.",
    503: "The collection, or its model, cannot be used now.",
    507: "The disk is full or cannot be written to.",
}


async def answer_isophote_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Tell of an error that a user can do something about."""
    if not isinstance(error, IsophoteError):
        raise error
    status, answer = answer_of(error)
    return json_answer(answer, status=status)


async def answer_wrong_parameters(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Tell which parameter or field is not what the API takes."""
    if not isinstance(error, RequestValidationError):
        raise error
    told = "; ".join(_fault(fault) for fault in error.errors()[:3])
    return json_answer(error_answer("parameter", told), status=PARAMETER_STATUS)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Tell of what the framework refused: a path that is none, a method that is not allowed."""
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "request")
    path = request.url.path[:200]
    answer = error_answer(code, f"{request.method} {path!r}: {error.detail.lower()}")
    response = json_answer(answer, status=error.status_code)
    response.headers.update(error.headers or {})
    return response


def _fault(fault: dict[str, Any]) -> str:
    # Its first part says where it stood: query, path or body.
    name = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    seen = repr(fault.get("input"))[:100]
    return f"{name} is {seen}: {fault['msg'].lower()}"
