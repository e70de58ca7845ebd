"""The checks of arrays that the scoring functions share."""

from typing import Any

import numpy as np
import numpy.typing as npt

MATRIX_DIMENSIONS = 2


def require_matrix(name: str, array: npt.NDArray[Any], *, width: int | None = None) -> None:
    """Raise a ValueError unless the array is a matrix, of so many columns where `width` is given.

    Parameters
    ----------
    name : str
        What the caller's docstring calls the array.
    array : array of any type
    width : int, optional
    """
    if array.ndim != MATRIX_DIMENSIONS or width not in (None, array.shape[1]):
        expected = "(n, d)" if width is None else f"(n, {width})"
        raise ValueError(f"{name} must be a matrix {expected}, got shape {array.shape}")


def require_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise a ValueError if a value is NaN or infinite.

    Parameters
    ----------
    name : str
        What the caller's docstring calls the array.
    array : float array of any shape
    """
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
