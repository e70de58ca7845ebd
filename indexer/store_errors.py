"""What LanceDB raises, in words that name the collection and the way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import CollectionDamagedError, FilterError, IsophoteError, StorageError

# Room for the list of columns with which LanceDB answers an unknown one.
MESSAGE_CHARACTERS = 1000

# LanceDB 0.40 ignores what stands behind a semicolon, and panics at a placeholder.
_NO_CONDITION = re.compile(r"[;?$]")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`""")


@contextmanager
def store_errors(uri: str, where: str | None = None) -> Iterator[None]:
    """Turn what LanceDB raises into errors that name the collection and the way out.

    Parameters
    ----------
    uri : str
        Of the collection.
    where : str, optional
        The user's condition, if one is evaluated.
    """
    if where is not None and _NO_CONDITION.search(_QUOTED.sub("", where)):
        raise FilterError(
            f"the filter {where!r} is not valid: it must be one condition without ; ? or $"
        )
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        translated = _translated(error, uri, where)
        if translated is None:
            raise
        raise translated from error


def _translated(error: Exception, uri: str, where: str | None) -> IsophoteError | None:
    """Return what to tell the user of an error, None if it is a caller's bug."""
    message = first_line(error)
    lowered = message.lower()
    # LanceDB raises ValueError for a condition it cannot parse or type, for a caller's bug (a
    # wrong table shape), and for a data file whose end was lost.
    is_refusal = isinstance(error, ValueError) and _LOST_END not in lowered
    fails_on_rows = any(sign in lowered for sign in _FILTER_SIGNS)
    if where is not None and (is_refusal or fails_on_rows):
        return FilterError(f"the filter {where!r} is not valid: {message}")
    if is_refusal:
        return None
    is_from_system = isinstance(error, OSError) and error.errno is not None
    if is_from_system or any(sign in lowered for sign in _STORAGE_SIGNS):
        return StorageError(
            f"cannot use the collection {uri!r}: {message}; nothing that was committed "
            "is lost; free the place or fix its permissions and run again"
        )
    return CollectionDamagedError(damaged_message(uri, message))


_LOST_END = "does not appear to be a lance file"

# Conditions that are well formed and fail on the rows ("width / 0 = 1") or cannot be run at all
# ("count(*) > 1") come as RuntimeError, as damage does.
_FILTER_SIGNS = (
    "applying filter expression",
    "not supported",
    "not implemented",
    "arithmetic overflow",
    "query execution error: execution error",
)

_STORAGE_SIGNS = (
    "no space left",
    "permission denied",
    "read-only file system",
    "quota exceeded",
    "access denied",
    "file too large",
)


def first_line(error: Exception) -> str:
    """Return the message of an error as one line that fits a terminal."""
    # Lance appends the place in its Rust sources, which helps nobody here.
    line = str(error).strip().split("\n")[0]
    return re.split(r", (?:/root/\.cargo|/rustc|rust)/", line)[0][:MESSAGE_CHARACTERS]


def damaged_message(uri: str, reason: str) -> str:
    """Return what to tell the user of a collection that cannot be read."""
    return (
        f"the collection {uri!r} cannot be read ({reason}); restore it from a backup, or index "
        "into another place with --collection"
    )
