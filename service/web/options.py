"""How a collection is served."""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.errors import InputError
from service.web.guards.origins import is_host_name

# Not registered, not chosen by other programs that people run at home, nor blocked by browsers.
DEFAULT_PORT = 8489

DEFAULT_THUMBNAIL_CACHE_MB = 1_000

MIN_TOKEN_LENGTH = 16

# Of a token that is made: 32 characters.
TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """What `isophote serve` is started with.

    Attributes
    ----------
    host : str
        Address, or name of one, to listen at.
    port : int
        0 takes one that is free.
    token : str, optional
        What clients must know; None lets all of them in.
    allowed_hosts : sequence of str
        Names the server may be called by, besides addresses and the machine's own names.
    allows_changes : bool
        Whether photos may be moved to the trash and brought back.
    thumbnail_cache_mb : int
        Thumbnails kept on disk, in megabytes.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    allowed_hosts: Sequence[str] = ()
    allows_changes: bool = False
    thumbnail_cache_mb: int = DEFAULT_THUMBNAIL_CACHE_MB


def checked_options(options: ServingOptions) -> ServingOptions:
    """Return the options, with a token where one is needed and none is given.

    Raises
    ------
    InputError
        If the token could be guessed, or a name is none.
    """
    for name in options.allowed_hosts:
        if not is_host_name(name):
            raise InputError(
                f"{name!r} is no name of a host; give --allow-host the name alone, without scheme "
                "or port, as in photos.example.org"
            )
    if options.token is not None:
        refuse_weak_token(options.token)
    elif needs_token(options.host):
        return replace(options, token=secrets.token_urlsafe(TOKEN_BYTES))
    return options


def needs_token(host: str) -> bool:
    """Return whether others than the users of this machine can reach a server at a host.

    Examples
    --------
    >>> needs_token("127.0.0.1"), needs_token("::1"), needs_token("localhost")
    (False, False, False)
    >>> needs_token("0.0.0.0"), needs_token("nas"), needs_token("")
    (True, True, True)
    """
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def refuse_weak_token(token: str) -> None:
    """Refuse a token that can be guessed, or that no header can carry.

    Raises
    ------
    InputError
        Without the token in the sentence.
    """
    if len(token) < MIN_TOKEN_LENGTH:
        raise InputError(
            f"a token of {len(token)} characters can be guessed; give one of at least "
            f"{MIN_TOKEN_LENGTH}, or none to have one made"
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(
            "the token has spaces or other characters that no header can carry; take letters, "
            "digits and punctuation"
        )
