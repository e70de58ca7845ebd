from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import InputError
from service.evaluation.photo_names import rows_by_name

PHOTOS = pa.table(
    {
        "root": ["/photos", "/photos", "/more/", ""],
        "path": ["a/one.jpg", "b/two.JPG", "one.png", "imported/three.jpg"],
    }
)


def rows(*names):
    found = rows_by_name(pa.array(names, pa.string()), PHOTOS, file=Path("names.csv"))
    return found.to_pylist()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param("/photos/a/one.jpg", 0, id="full-path"),
        pytest.param("/more/one.png", 2, id="full-path-below-a-root-with-a-slash"),
        pytest.param("b/two.JPG", 1, id="relative-to-the-folder"),
        pytest.param("./b/two.JPG", 1, id="relative-with-a-dot"),
        pytest.param("b\\two.JPG", 1, id="of-windows"),
        pytest.param("elsewhere/one.jpg", 0, id="by-file-name"),
        pytest.param("TWO.jpg", 1, id="in-any-case"),
        pytest.param("imported/three.jpg", 3, id="imported"),
        pytest.param("four.jpg", None, id="unknown"),
    ],
)
def test_a_photo_is_found_by(name, row):
    assert rows(name) == [row]


def test_names_keep_their_order_and_may_repeat():
    assert rows("two.JPG", "four.jpg", "one.png", "two.JPG") == [1, None, 2, 1]


def test_a_name_that_fits_several_photos_is_refused():
    photos = pa.table({"root": ["/a", "/b"], "path": ["x/one.jpg", "y/one.jpg"]})
    with pytest.raises(InputError, match=r"names\.csv names one\.jpg, which fits 2 photos"):
        rows_by_name(pa.array(["one.jpg"]), photos, file=Path("names.csv"))
