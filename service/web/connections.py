"""Connections that cannot be held forever, nor in any number."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

BAD_REQUEST_BODY = (
    b'{"error":{"code":"request","message":"this is no request of HTTP/1.1, or its headers are '
    b'too long"}}'
)
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BAD_REQUEST_BODY), BAD_REQUEST_BODY)
)


class BoundedConnection(H11Protocol):
    """A connection of uvicorn that is closed when it only takes up room.

    Of uvicorn 0.54 it needs that `cycle` is the request under way or the last one, and that
    `connections` holds all connections.

    Attributes
    ----------
    most_connections : int
        With more of them, the one that has waited longest for a request is closed. Below the
        1,024 files that most systems let a process open, and far above the 6 of a browser.
    header_seconds : float
        From the start of waiting for the first request, or from the first byte of a later one, to
        the end of its headers. Also how long a body is still listened to that was answered
        before its end. uvicorn ends only the wait for the first byte of a later request.
    stalled_seconds : float
        In which a client must take some of an answer that waits for it.
    """

    most_connections = 512
    header_seconds = 10.0
    stalled_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self.waiting_since = self.loop.time()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        has_had_none = self.cycle is None
        return has_had_none or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for this connection; see asyncio."""
        super().connection_made(transport)
        self._limit_headers()
        if len(self.connections) > self.most_connections:
            self._close_the_oldest()

    def data_received(self, data: bytes) -> None:
        """Limit the time to the next request if this was not all of it; see asyncio."""
        super().data_received(data)
        self._limit_headers()

    def on_response_complete(self) -> None:
        """Begin to wait; see uvicorn."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Limit the time that the client takes nothing; see asyncio."""
        super().pause_writing()
        self._limit_stall()

    def resume_writing(self) -> None:
        """Go on without a limit; see asyncio."""
        super().resume_writing()
        _cancel(self._stall_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the limits; see asyncio."""
        super().connection_lost(exc)
        _cancel(self._header_timer)
        _cancel(self._stall_timer)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - of uvicorn
        """Answer what is no HTTP in the shape of all errors; see uvicorn."""
        # Not through h11, which has no state left for it after half a request.
        if self.is_waiting or not self.cycle.response_started:
            self.transport.write(BAD_REQUEST)
        self.transport.close()

    def _limit_headers(self) -> None:
        if not self.is_waiting:
            _cancel(self._header_timer)
            self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _limit_stall(self, unsent: int | None = None) -> None:
        left = self.transport.get_write_buffer_size()
        if left == unsent:
            self.transport.abort()
        else:
            self._stall_timer = self.loop.call_later(self.stalled_seconds, self._limit_stall, left)

    def _close_the_oldest(self) -> None:
        bounded = [other for other in self.connections if isinstance(other, BoundedConnection)]
        waiting = [other for other in bounded if other.is_waiting]
        oldest = min(waiting, key=lambda other: other.waiting_since)
        self.connections.discard(oldest)
        oldest.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
