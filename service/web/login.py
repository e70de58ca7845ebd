"""The page that asks a browser for the token."""

from functools import partial
from importlib.resources import files
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.web.guards.tokens import TOO_MANY, Door, cookie_name, with_query

# Where `login.html` has room for what went wrong.
MESSAGE_MARK = "<!-- message -->"

MESSAGES = {401: "That is not the token.", TOO_MANY.status: "Too many attempts; wait some seconds."}

# The token alone; more of them cost time to parse.
MAX_FIELDS = 4


def login_router(door: Door) -> APIRouter:
    """Return the routes of the login page and of what it loads; they need no token.

    Parameters
    ----------
    door : Door
        Compares what is entered.
    """
    router = APIRouter(include_in_schema=False)
    page = _read_page("login.html")

    @router.get("/login")
    async def show_form(request: Request) -> Response:
        if door.knows(request.scope):
            return _view(request)
        return HTMLResponse(page.replace(MESSAGE_MARK, ""))

    @router.post("/login")
    async def enter(request: Request) -> Response:
        refusal = await door.refusal(entered_token(await request.body()), request.scope)
        if refusal is not None:
            message = MESSAGES[refusal.status]
            return HTMLResponse(page.replace(MESSAGE_MARK, message), refusal.status)
        response = _view(request)
        # Of the browser's side of a proxy that has a certificate.
        is_encrypted = request.headers.get("origin", "").startswith("https:")
        response.set_cookie(
            cookie_name(request.scope),
            door.session,
            secure=is_encrypted,
            httponly=True,
            samesite="strict",
        )
        return response

    for name, media_type in (("login.css", "text/css"), ("login.js", "text/javascript")):
        router.add_api_route(f"/login/{name}", partial(_asset, _read_page(name), media_type))
    return router


def entered_token(form: bytes) -> bytes:
    r"""Return the field `token` of an urlencoded form without spaces around it, if there is one.

    Examples
    --------
    >>> entered_token(b"token=a%2Bb+&x=1"), entered_token(b"\xff"), entered_token(b"{}")
    (b'a+b', b'', b'')
    """
    try:
        fields = parse_qs(form, max_num_fields=MAX_FIELDS)
    except ValueError:  # too many fields, or bytes that no form has
        return b""
    return fields.get(b"token", [b""])[0].strip()


def _asset(text: str, media_type: str) -> Response:
    return Response(text, media_type=media_type)


def _view(request: Request) -> Response:
    """Lead to the view that was asked for before the token was."""
    return RedirectResponse(with_query("/", request.scope), 303)


def _read_page(name: str) -> str:
    return (files("service.web.pages") / name).read_text(encoding="utf-8")
