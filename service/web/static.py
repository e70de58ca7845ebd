"""The page and what it loads: files that come with the package, read once."""

import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

PAGE = "index.html"

# Other files of the package are none of a browser's business.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Asked for again each time, and then not sent: a new release must not meet modules of the last.
_KEPT = "no-cache"


class Asset:
    """A file that browsers get, and what it is known by.

    Parameters
    ----------
    content : bytes
    media_type : str
    """

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        """Return the file, or word that the browser has it already."""
        headers = {"ETag": self._tag, "Cache-Control": _KEPT}
        if request.headers.get("if-none-match") == self._tag:
            return Response(status_code=304, headers=headers)
        return Response(self._content, media_type=self._media_type, headers=headers)


def page_router() -> APIRouter:
    """Return the routes of the page."""
    router = APIRouter(include_in_schema=False)
    assets = _assets()

    @router.get("/")
    async def page(request: Request) -> Response:
        return assets[PAGE].answer(request)

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        if name not in assets:
            raise HTTPException(404, "there is no such file")
        return assets[name].answer(request)

    return router


def _assets() -> dict[str, Asset]:
    found = {}
    for file in files("service.web.pages").iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        if suffix in _MEDIA_TYPES:
            found[file.name] = Asset(file.read_bytes(), _MEDIA_TYPES[suffix])
    return found
