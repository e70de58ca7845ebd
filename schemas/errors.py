"""The tree of errors a user can meet. Every message says what, the value seen, and the way out.

::

    IsophoteError
    ├── InputError                 a path, query or option that cannot be used
    │   ├── FilterError            a --where condition the store does not accept
    │   ├── UnsupportedSpaceError  a space that this model cannot serve
    │   ├── UnknownPhotoError      an id that no photo has
    │   └── UnknownModelError      photos or texts for a model known by its vectors only
    ├── PhotoError                 one file that cannot be indexed; recorded, never fatal
    ├── ForbiddenError             a change that a service was not started for
    ├── GoneError                  a photo's file that is not there as it was indexed
    │   └── FileGoneError          ... and what stands there (service.photo_files)
    ├── ModelError                 an unknown model, or weights that are missing or damaged
    ├── MissingExtraError          an optional dependency that is not installed
    └── CollectionError            a collection that cannot be used as asked
        ├── CollectionNotFoundError
        ├── CollectionDamagedError
        ├── NewerSchemaError       written by a newer release
        ├── MismatchError          made with another model, preprocessing or projector
        ├── LockedError            another process writes to it
        └── StorageError           disk full, read-only, or no permission

A caller's bug is a ``ValueError`` instead.
"""

from typing import Literal

Stage = Literal["scan", "read", "decode", "encode"]
"""Where on its way a photo failed."""


class IsophoteError(Exception):
    """Root of all errors that a user can do something about."""


class InputError(IsophoteError):
    """A path, query or option that cannot be used as given."""


class FilterError(InputError):
    """A filter condition that the store does not accept."""


class UnsupportedSpaceError(InputError):
    """A space of similarity that the model cannot serve."""


class UnknownPhotoError(InputError):
    """An id that no photo of the collection has.

    Parameters
    ----------
    image_id : int or str
        As it was asked for.
    """

    def __init__(self, image_id: int | str) -> None:
        super().__init__(f"no photo has the id {image_id}; ids stand beside the hits of a search")


class UnknownModelError(InputError):
    """Photos or texts to embed for a collection whose model is known by its vectors only."""


class PhotoError(IsophoteError):
    """One file that cannot be indexed.

    Parameters
    ----------
    stage : Stage
        Where it failed.
    reason : str
        One sentence without the path: the path is kept beside it.
    """

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage: Stage = stage
        self.reason = reason


class ForbiddenError(IsophoteError):
    """A change that a service was not started for."""


class GoneError(IsophoteError):
    """A photo's file that is not there any more as it was indexed."""


class ModelError(IsophoteError):
    """An unknown model, or weights that are missing or damaged."""


class MissingExtraError(IsophoteError):
    """An optional dependency that is not installed.

    Parameters
    ----------
    package : str
        The import that failed.
    extra : str
        The extra of the `isophote` distribution that brings it.
    purpose : str
        What it is needed for, as in "to run ONNX models".
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{package} is needed {purpose} but is not installed; "
            f'run `pip install "isophote[{extra}]"`'
        )


class CollectionError(IsophoteError):
    """A collection that cannot be used as asked."""


class CollectionNotFoundError(CollectionError):
    """Nothing was indexed at this place yet."""


class CollectionDamagedError(CollectionError):
    """Files of the collection are missing or unreadable."""


class NewerSchemaError(CollectionError):
    """The collection was written by a newer release."""


class MismatchError(CollectionError):
    """The collection was made with another model, preprocessing or projector."""


class LockedError(CollectionError):
    """Another process writes to the collection."""


class StorageError(CollectionError):
    """The disk is full, read-only, or permission is missing."""
