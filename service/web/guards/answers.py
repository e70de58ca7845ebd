"""What all answers have in common: strict headers, and one shape for failures."""

import logging
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.guards.refusals import Refusal

PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
OTHER_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"

STRICT_HEADERS = {
    b"x-content-type-options": b"nosniff",
    # Not no-referrer: browsers would then send the login form with `Origin: null`.
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"cache-control": b"no-store",
}

UNEXPECTED = Refusal(
    500,
    "unexpected",
    "something failed that should not have; what it was is printed where `isophote serve` runs",
)


class HeadsAsGets:
    """ASGI middleware that lets routes answer HEAD as GET; the server leaves the body out.

    Parameters
    ----------
    app : ASGI app
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see ASGI."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class StrictHeaders:
    """ASGI middleware that adds the headers an answer does not have yet.

    Parameters
    ----------
    app : ASGI app
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see ASGI."""

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = strict_headers(message.get("headers", []), status=message["status"])
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_strictly)


def strict_headers(
    headers: list[tuple[bytes, bytes]], *, status: int = 200
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that are missing.

    Parameters
    ----------
    headers : list of (name, value)
        Names in lower case, as ASGI has them.
    status : int
        HTTP status.
    """
    given = dict(headers)
    wanted = dict(STRICT_HEADERS)
    # Browsers take the headers of "not modified" for those of the page that they have kept, and
    # such an answer does not say what it is about.
    if status != HTTPStatus.NOT_MODIFIED:
        is_page = given.get(b"content-type", b"").startswith(b"text/html")
        wanted[b"content-security-policy"] = PAGE_POLICY if is_page else OTHER_POLICY
    return [*headers, *(pair for pair in wanted.items() if pair[0] not in given)]


class Faults:
    """ASGI middleware that answers where nothing else caught an exception, and logs it.

    Parameters
    ----------
    app : ASGI app
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = logging.getLogger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see ASGI."""
        has_started = False

        async def note_start(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except Exception:
            # Half an answer cannot be taken back: the server logs it and closes the connection.
            if has_started or scope["type"] != "http":
                raise
            self._log.exception("%s %s failed", scope["method"], scope["path"])
            await UNEXPECTED(scope, receive, send)
