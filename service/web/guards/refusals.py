"""Answers to requests that go no further than the guards."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.errors import error_answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as an ASGI app, so that it can answer in place of the one that was asked.

    Attributes
    ----------
    status : int
        HTTP status, 400 or above.
    code, message : str
        As in `schemas.http.ErrorDetail`.
    headers : mapping of str to str
        Sent besides those that all answers have.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see ASGI."""
        answer = error_answer(self.code, self.message)
        response = JSONResponse(answer.model_dump(), self.status, self.headers)
        await response(scope, receive, send)
