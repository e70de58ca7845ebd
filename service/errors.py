"""Which HTTP status an error has, and the word by which a program knows it.

The only place that knows status codes of errors; the sentences are those of the command line.
"""

from schemas.errors import (
    CollectionDamagedError,
    CollectionError,
    CollectionNotFoundError,
    FilterError,
    ForbiddenError,
    GoneError,
    InputError,
    IsophoteError,
    LockedError,
    MissingExtraError,
    ModelError,
    PhotoError,
    StorageError,
    UnknownPhotoError,
)
from schemas.http import ErrorAnswer, ErrorDetail

# The first that an error is an instance of counts.
_KINDS: tuple[tuple[type[IsophoteError], int, str], ...] = (
    (UnknownPhotoError, 404, "not_found"),
    (FilterError, 400, "filter"),
    (InputError, 400, "input"),
    (ForbiddenError, 403, "forbidden"),
    (GoneError, 410, "gone"),
    (PhotoError, 422, "photo"),
    (ModelError, 503, "model"),
    (MissingExtraError, 501, "missing_extra"),
    (LockedError, 409, "locked"),
    (StorageError, 507, "storage"),
    (CollectionNotFoundError, 503, "no_collection"),
    (CollectionDamagedError, 500, "damaged"),
    (CollectionError, 503, "collection"),
    (IsophoteError, 500, "error"),
)

PARAMETER_STATUS = 422
"""Of a parameter or a body that is not what the API takes."""


def answer_of(error: IsophoteError) -> tuple[int, ErrorAnswer]:
    """Return the status and the body that tell a client of an error.

    Examples
    --------
    >>> answer_of(UnknownPhotoError(17))[0]
    404
    """
    status, code = next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))
    return status, error_answer(code, str(error))


def error_answer(code: str, message: str) -> ErrorAnswer:
    """Return the body of an answer that tells what went wrong."""
    return ErrorAnswer(error=ErrorDetail(code=code, message=message))
