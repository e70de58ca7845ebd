"""How much a request may send, how long it may take to, and how many are answered at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.guards.refusals import Refusal

# Longer than any page of a client at rest takes, shorter than people wait.
WAIT_SECONDS = 10.0

BUSY = Refusal(
    503,
    "busy",
    f"this server has been busy with other requests for {WAIT_SECONDS:.0f} s; try again",
    {"Retry-After": "2"},
)


@dataclass(frozen=True, slots=True)
class Lane:
    """Limits of the requests to some paths.

    Attributes
    ----------
    prefix : str
        Of the paths.
    n_at_once : int
        More wait for their turn. Bodies are read in turn too, so this bounds the memory they take.
    max_bytes : int
        Of a body.
    body_seconds : float
        From a request's turn to the end of its body.
    """

    prefix: str
    n_at_once: int
    max_bytes: int
    body_seconds: float


# Requests wait rather than being refused: one page asks for some 60 thumbnails at once, and a
# browser does not ask again for an image that was refused. That not too many wait is left to the
# limit of connections, as each has one request under way. Whoever sends a form or a photo slowly
# only holds up others who do.
LANES = (
    Lane("/login", n_at_once=512, max_bytes=4 * 2**10, body_seconds=5.0),
    Lane("/api/v1/uploads", n_at_once=4, max_bytes=64 * 2**20, body_seconds=60.0),
    Lane("", n_at_once=64, max_bytes=4 * 2**20, body_seconds=20.0),
)


class Lanes:
    """ASGI middleware that reads bodies, within limits, before a request is passed on.

    A route never meets half a body, or one that is too large.

    Parameters
    ----------
    app : ASGI app
    lanes : sequence of Lane
        The first whose prefix fits counts; the last must fit all.
    wait_seconds : float
        A request that waits longer for its turn is refused.
    """

    def __init__(
        self, app: ASGIApp, *, lanes: Sequence[Lane] = LANES, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._app = app
        self._lanes = [(lane, asyncio.Semaphore(lane.n_at_once)) for lane in lanes]
        self._wait_seconds = wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when it is its turn; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        lane, turns = next(pair for pair in self._lanes if path.startswith(pair[0].prefix))
        if _declared_bytes(scope) > lane.max_bytes:
            await _too_large(lane)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turns.acquire()
        except TimeoutError:
            await BUSY(scope, receive, send)
            return
        try:
            await self._take_turn(lane, scope, receive, send)
        finally:
            turns.release()

    async def _take_turn(self, lane: Lane, scope: Scope, receive: Receive, send: Send) -> None:
        if not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive, lane)
        if isinstance(body, Refusal):
            await body(scope, receive, send)
        elif body is not None:
            await self._app(scope, _replayed(body, receive), send)


def _declared_bytes(scope: Scope) -> int:
    """Return what a request says its body has, which nothing relies on."""
    declared = Headers(scope=scope).get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _has_body(scope: Scope) -> bool:
    return "transfer-encoding" in Headers(scope=scope) or _declared_bytes(scope) > 0


async def _read_body(receive: Receive, lane: Lane) -> bytes | Refusal | None:
    """Return the body, why it is refused, or None if the client has gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(lane.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > lane.max_bytes:
                    return _too_large(lane)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return Refusal(
            408,
            "too_slow",
            f"the body took over {lane.body_seconds:g} s to arrive; send less, or faster",
            {"Connection": "close"},
        )


def _too_large(lane: Lane) -> Refusal:
    # The connection stays open: a client that still sends could not read the answer otherwise.
    # `service.web.connections` closes it if that takes long.
    return Refusal(
        413, "too_large", f"a body may have {lane.max_bytes:,} bytes here; send a smaller one"
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return `receive` with a body that was read before it."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay
