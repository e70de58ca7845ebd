"""Real servers on 127.0.0.1 in a thread, and what talks to them without manners."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from service.web.connections import BoundedConnection
from service.web.guards.guarding import add_guards
from service.web.guards.lanes import LANES, Lane
from service.web.guards.tokens import Door, Guesses
from service.web.metrics import CollectionSize, Metrics, metrics_router
from service.web.serving import AnnouncedServer, open_listener

TOKEN = "sixteen-or-more-characters"

# So many bytes overfill all buffers between a server and a client that does not read.
MANY_BYTES = 64 * 2**20


def small_app(
    *,
    token: str | None = None,
    names: Sequence[str] = (),
    lanes: Sequence[Lane] = LANES,
    guesses: Guesses | None = None,
) -> FastAPI:
    """Return an app with all guards around a few routes."""
    app = FastAPI()
    metrics = Metrics(lambda: CollectionSize(n_images=5, n_failures=1, version=7))
    app.include_router(metrics_router(metrics))
    _add_routes(app)
    _add_odd_routes(app)
    door = None if token is None else Door(token, guesses or Guesses(seconds=0.01))
    add_guards(app, metrics=metrics, door=door, names=names, lanes=lanes)
    return app


def _add_routes(app: FastAPI) -> None:
    @app.get("/")
    async def page() -> Response:
        return HTMLResponse("<!doctype html><title>Photos</title>")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/v1/images/{image_id}")
    async def image(image_id: int) -> dict[str, int]:
        return {"image_id": image_id}

    @app.post("/api/v1/uploads")
    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body())


def _add_odd_routes(app: FastAPI) -> None:
    @app.get("/kept")
    async def kept() -> Response:
        return JSONResponse({}, headers={"Cache-Control": "private, max-age=60"})

    @app.get("/unchanged")
    async def unchanged() -> Response:
        return Response(status_code=304)

    @app.get("/many-bytes")
    async def many_bytes() -> Response:
        return Response(bytes(MANY_BYTES))

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("the secret reason")


@contextmanager
def running_server(
    app: ASGIApp, connection: type[BoundedConnection] = BoundedConnection
) -> Iterator[int]:
    """Serve an app and give the port."""
    started = threading.Event()
    with open_listener("127.0.0.1", 0) as listener:
        server = AnnouncedServer(app, on_started=started.set, connection=connection)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert started.wait(20)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def connected(port: int) -> socket.socket:
    """Return a connection that nothing was sent on."""
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def request_bytes(
    path: str, *lines: str, method: str = "GET", host: str | None = "127.0.0.1", body: bytes = b""
) -> bytes:
    """Return a request as it is sent, well-formed or not."""
    hosts = [] if host is None else [f"Host: {host}"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *hosts, *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """Return the next answer; ConnectionError if there is none."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def ask(port: int, path: str, *lines: str, method: str = "GET", **more: object) -> Answer:
    """Send one request on a connection of its own; see `request_bytes`."""
    with connected(port) as connection:
        connection.sendall(request_bytes(path, *lines, method=method, **more))  # type: ignore[arg-type]
        return read_answer(connection, method)


def seconds_until_closed(connection: socket.socket) -> float:
    """Return after how long the server closed a connection; what it sends is dropped."""
    started_at = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started_at


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds, and fail if it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
