"""What `isophote import` and `isophote export` answer."""

from typing import Literal

from schemas.model import Space
from schemas.results import Record

ExchangeFormat = Literal["clip-retrieval", "npz", "parquet", "csv", "jsonl"]


class ImportSummary(Record):
    """What one run of `isophote import` did.

    n_read = n_imported + n_unusable + n_repeated + n_known + n_pending: rows without a usable
    vector, rows whose path an earlier row has, rows whose path the collection has, and rows that
    were not reached because the run was interrupted. `renamed` leads from the name of a column in
    the source to its name in the collection, `left_out` to why a column was not taken. `is_opened`
    says whether the collection can open the model, for words and photos.
    """

    collection: str
    model: str
    is_opened: bool
    embedding_dim: int
    is_unit: bool
    n_read: int
    n_imported: int
    n_unusable: int
    n_repeated: int
    n_known: int
    n_pending: int
    renamed: dict[str, str]
    left_out: dict[str, str]
    n_images: int
    seconds: float
    interrupted: bool


class ExportSummary(Record):
    """What one run of `isophote export` wrote; without vectors, `space` and `dtype` are None."""

    target: str
    format: ExchangeFormat
    n_images: int
    space: Space | None
    dtype: Literal["float16", "float32"] | None
    columns: tuple[str, ...]
    n_bytes: int
    seconds: float
