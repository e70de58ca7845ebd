"""Turn away who calls the server by a strange name, comes from another site, or has no token."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.guards.origins import HostRule, cross_site_refusal
from service.web.guards.tokens import Door


class Gate:
    """ASGI middleware that lets in who may ask; see :mod:`service.web.guards.origins` and `tokens`.

    Parameters
    ----------
    app : ASGI app
    hosts : HostRule
    door : Door, optional
        None if no token is needed.
    """

    def __init__(self, app: ASGIApp, *, hosts: HostRule, door: Door | None) -> None:
        self._app = app
        self._hosts = hosts
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or answer it; see ASGI."""
        answer = await self._answer(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    async def _answer(self, scope: Scope) -> ASGIApp | None:
        refusal = self._hosts.refusal(scope) or cross_site_refusal(scope)
        if refusal is not None or self._door is None:
            return refusal
        return await self._door.answer(scope)
