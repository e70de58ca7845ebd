"""Which names the server may be called by, and which pages may ask it.

A page of any site can send requests to 127.0.0.1. What it can read is limited by browsers as long
as its origin is not ours. So two things are refused: a Host header with a name that is not ours,
by which a foreign name that was pointed here would become our origin (DNS rebinding), and what a
browser says comes from elsewhere. See "Fetch Metadata Request Headers" (W3C, 2021), and "Protect
your resources from web attacks with Fetch Metadata" (web.dev, 2020) for the rule on navigation.
"""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from starlette.datastructures import Headers
from starlette.types import Scope

from service.web.guards.refusals import Refusal

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Pages that a link elsewhere may lead to.
LINKED_PATHS = frozenset({"/", "/login"})

LOGIN_PATH = "/login"

_NAME = r"[A-Za-z0-9._-]+"
_HOST = re.compile(rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>{_NAME}))(?::[0-9]{{1,5}})?")

MAX_SHOWN_HOST = 100


def is_host_name(text: str) -> bool:
    """Return whether a text can be the name of a host, without a port.

    Examples
    --------
    >>> is_host_name("photos.example.org"), is_host_name("photos:80"), is_host_name("*")
    (True, False, False)
    """
    return re.fullmatch(_NAME, text) is not None


@dataclass(frozen=True, slots=True)
class HostRule:
    """Lets in whom the server is known to by an address, or by one of these names.

    An address cannot be rebound: only a name can be pointed elsewhere.

    Attributes
    ----------
    names : frozenset of str
        In lower case.
    """

    names: frozenset[str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "HostRule":
        """Return the rule for these names, localhost, and the names of this machine."""
        machine = socket.gethostname()
        return cls(frozenset(map(str.lower, ["localhost", machine, f"{machine}.local", *names])))

    def refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is refused, or None."""
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1:
            return Refusal(421, "host", f"a request needs one Host header, got {len(hosts)}")
        if self._allows(hosts[0]):
            return None
        return Refusal(
            421,
            "host",
            f"this server is not known as {hosts[0][:MAX_SHOWN_HOST]!r}; call it by its address, "
            "or start it with `isophote serve --allow-host NAME`",
        )

    def _allows(self, host: str) -> bool:
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        try:
            if parts["v6"] is not None:
                IPv6Address(parts["v6"])
            elif parts["name"].lower() not in self.names:
                IPv4Address(parts["name"])
        except ValueError:
            return False
        return True


def cross_site_refusal(scope: Scope) -> Refusal | None:
    """Return why a request is refused by where it comes from, or None.

    Needs a Host header that was checked before. Programs other than browsers send no Origin and no
    Sec-Fetch-Site; what they change still needs the header `Isophote-Request: 1`, which no form
    can send. The form of the login page is excepted from that.
    """
    headers = Headers(scope=scope)
    host = headers.get("host")
    # The scheme does not matter: with the same name and port, another one is that of a proxy.
    ours = (f"http://{host}", f"https://{host}")
    for origin in headers.getlist("origin"):
        if origin.lower() not in map(str.lower, ours):
            return _forbidden("a page of another site may not ask this server")
    from_here = all(site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site"))
    if not from_here and not _follows_a_link(scope, headers):
        return _forbidden("another site may only link to the page of this server")
    changes = scope["method"] not in SAFE_METHODS and scope["path"] != LOGIN_PATH
    if changes and headers.getlist("isophote-request") != ["1"]:
        return _forbidden("a change needs the header `Isophote-Request: 1`")
    return None


def _follows_a_link(scope: Scope, headers: Headers) -> bool:
    is_navigation = headers.get("sec-fetch-mode") == "navigate"
    return is_navigation and scope["method"] == "GET" and scope["path"] in LINKED_PATHS


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "forbidden", message)
