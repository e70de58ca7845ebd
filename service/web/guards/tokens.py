"""Who knows the token gets in; who guesses gets slow."""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from ipaddress import ip_address, ip_network
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Scope

from service.web.guards.refusals import Refusal

OPEN_PATHS = frozenset(
    {"/health", "/login", "/login/login.css", "/login/login.js", "/static/icon.svg"}
)
"""What needs no token."""

UNKNOWN = Refusal(
    401,
    "token",
    "this server needs its token: in the header `Authorization: Bearer TOKEN`, or at /login",
    {"WWW-Authenticate": "Bearer"},
)
WRONG = Refusal(
    401,
    "token",
    "this is not the token of this server; it was printed when `isophote serve` started, or given "
    "to it as --token or ISOPHOTE_TOKEN",
    {"WWW-Authenticate": 'Bearer error="invalid_token"'},
)
TOO_MANY = Refusal(
    429,
    "token",
    "too many wrong tokens came from your address; try again in some seconds",
    {"Retry-After": "5"},
)


class Guesses:
    """Lets one address try a few tokens a second, and no address stand in the way of another.

    Each wrong token is answered late. An address that has so many answers pending that it must be
    guessing is not listened to until one of them is out. Who is logged in meets none of this.

    Parameters
    ----------
    seconds : float
        After which a wrong token is answered.
    n_at_once : int
        Wrong tokens of one address that may wait for their answer.
    """

    def __init__(self, *, seconds: float = 1.0, n_at_once: int = 8) -> None:
        self._seconds = seconds
        self._n_at_once = n_at_once
        self._pending: Counter[str] = Counter()

    def are_too_many(self, client: str) -> bool:
        """Return whether an address has to wait before its next guess is looked at."""
        return self._pending[_network(client)] >= self._n_at_once

    async def wait(self, client: str) -> None:
        """Let time pass for a wrong token."""
        network = _network(client)
        self._pending[network] += 1
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._pending[network] -= 1
            # Forgotten when done with, or every address that ever guessed would stay in memory.
            self._pending += Counter()


def _network(client: str) -> str:
    """Return whom an address belongs to: one customer has 2**64 addresses of IPv6."""
    try:
        version = ip_address(client).version
    except ValueError:  # a test client, or a socket without addresses
        return client
    return client if version == 4 else str(ip_network(f"{client}/64", strict=False))  # noqa: PLR2004


class Door:
    """Knows the token, and the cookie that stands for it in browsers.

    The cookie is a keyed hash of the token with a key of this run: who steals one learns nothing
    that lasts, and a new start ends all sessions.

    Parameters
    ----------
    token : str
    guesses : Guesses, optional

    Attributes
    ----------
    session : str
        Value of the cookie.
    """

    def __init__(self, token: str, guesses: Guesses | None = None) -> None:
        # Hashed, so that a comparison takes as long for any length.
        self._digest = _digest(token.encode())
        self._guesses = guesses or Guesses()
        self.session = hmac.new(secrets.token_bytes(32), token.encode(), hashlib.sha256).hexdigest()

    async def answer(self, scope: Scope) -> ASGIApp | None:
        """Return what to answer to a request that may not pass, or None."""
        if scope["path"] in OPEN_PATHS or self.knows(scope):
            return None
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self.refusal(token.encode("latin-1"), scope)
        if scope["path"] == "/":
            return RedirectResponse(with_query("/login", scope), 303)
        return UNKNOWN

    async def refusal(self, token: bytes, scope: Scope) -> Refusal | None:
        """Return why a token is refused, or None if it is the right one; a wrong one takes long."""
        client = (scope.get("client") or ("", 0))[0]
        if self._guesses.are_too_many(client):
            return TOO_MANY
        if hmac.compare_digest(_digest(token), self._digest):
            return None
        await self._guesses.wait(client)
        return WRONG

    def knows(self, scope: Scope) -> bool:
        """Return whether a request carries the cookie."""
        name = cookie_name(scope)
        return any(
            hmac.compare_digest(value.encode("latin-1"), self.session.encode())
            for header in Headers(scope=scope).getlist("cookie")
            for key, _, value in (pair.strip().partition("=") for pair in header.split(";"))
            if key == name
        )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def cookie_name(scope: Scope) -> str:
    """Return the name of the cookie: browsers send cookies to all ports of a host."""
    return f"isophote-{scope['server'][1]}"


def with_query(path: str, scope: Scope) -> str:
    """Return a path with the query of a request, which is the view that was asked for."""
    # Quoted again, as a client may send bytes that no header may hold; % stays as it is.
    query = quote(scope["query_string"], safe="%&=+/?:@!$'()*,;-._~")
    return f"{path}?{query}" if query else path
