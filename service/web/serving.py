"""Serve an app over HTTP until it is stopped."""

import errno
import gc
import socket
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import InputError
from service.web.connections import BoundedConnection

# Answers under way at Ctrl-C get so long.
GRACEFUL_SECONDS = 3

# Connections that wait to be accepted. asyncio accepts all of them at once, before any can be
# closed: with many, it would run out of files to open, and accept none for a second.
BACKLOG = 128

# Of a request: the longest filter, each character of it as %XX, and the headers of a browser.
MAX_HEAD_BYTES = 64 * 2**10

# Room for connections, for those about to be closed, and for the files of the collection.
WANTED_FILES = 4096


def serve(app: ASGIApp, *, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve an app until Ctrl-C, or SIGTERM where that is made to do the same.

    Answers under way are finished, for a few seconds. Nothing is logged but errors: what people
    look for is theirs.

    Parameters
    ----------
    app : ASGI app
    host : str
        Address or name to listen at.
    port : int
        0 takes one that is free.
    on_listening : callable
        Told the URL when requests are answered.

    Raises
    ------
    InputError
        If nothing can listen there.
    KeyboardInterrupt
        When it was stopped.
    """
    raise_file_limit()
    with open_listener(host, port) as listener:
        on_started = partial(on_listening, listener_url(listener))
        AnnouncedServer(app, on_started=on_started).run(sockets=[listener])


class AnnouncedServer(uvicorn.Server):
    """A server of uvicorn with our limits, that tells when it answers.

    Parameters
    ----------
    app : ASGI app
    on_started : callable
    connection : type
        With the limits of connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        on_started: Callable[[], None],
        connection: type[BoundedConnection] = BoundedConnection,
    ) -> None:
        options: dict[str, Any] = {
            # By name: what "auto" takes depends on what else is installed.
            "loop": "asyncio",
            "http": connection,
            "ws": "none",
            "interface": "asgi3",
            "lifespan": "on",
            # Only errors, by the last resort of `logging`, which prints to stderr.
            "log_config": None,
            "log_level": "error",
            "access_log": False,
            # Who asks is who is connected: anybody could send a header that says otherwise.
            "proxy_headers": False,
            "server_header": False,
            "backlog": BACKLOG,
            "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
            "timeout_graceful_shutdown": GRACEFUL_SECONDS,
        }
        super().__init__(uvicorn.Config(app, **options))
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell so; see uvicorn."""
        await super().startup(sockets)
        # What was made until now stays: looking through all of it for garbage, which happens every
        # few thousand requests, would hold up all that are under way.
        gc.freeze()
        self._on_started()


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises
    ------
    InputError
        If the host is not of this machine, or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # IPv4 first, as a link to localhost is expected to be 127.0.0.1.
        family, *_, address = min(found)
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise InputError(_refused_listening(host, port, error)) from error
    # With the protocol, which `create_server` leaves out: asyncio sends at once (TCP_NODELAY) only
    # where it is named, and each later answer of a connection would take 44 ms instead of 1 ms.
    kind = (listener.family, listener.type, socket.IPPROTO_TCP)
    return socket.socket(*kind, fileno=listener.detach())


def _refused_listening(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken, perhaps by another `isophote serve`; give another "
            "--port, or --port 0 for any that is free"
        )
    if number == errno.EACCES:
        return f"port {port} may not be opened without more rights; give a --port above 1023"
    return (
        f"cannot listen at {host!r}, port {port} ({error}); give --host an address of this machine"
    )


def listener_url(listener: socket.socket) -> str:
    """Return where a browser finds what listens; by the machine's name if at all its addresses."""
    host, port, *_ = listener.getsockname()
    if ip_address(host).is_unspecified:
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def raise_file_limit() -> None:
    """Let this process open as many files as it may, if that is few."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
