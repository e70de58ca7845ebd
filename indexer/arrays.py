"""Names for the array types that functions take and return."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Float16Array = npt.NDArray[np.float16]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
