import zipfile

import numpy as np
import pytest

from schemas.errors import InputError
from service.exchange.array_files import array_errors, stored_array, stored_arrays


def rows_of(stored, block_rows=3):
    return np.concatenate(list(stored.blocks(block_rows)))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "i8", "U5", "M8[s]", "?"])
def test_blocks_are_the_array(tmp_path, dtype):
    array = np.arange(8).astype("i8").astype(dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    for stored in (stored_array(tmp_path / "a.npy"), stored_arrays(tmp_path / "a.npz")["a"]):
        assert stored.shape == (8,)
        assert [len(block) for block in stored.blocks(3)] == [3, 3, 2]
        np.testing.assert_array_equal(rows_of(stored), array)


def test_rows_of_a_matrix_and_of_nothing(tmp_path):
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "a.npz", matrix=matrix, nothing=np.empty((0, 3)), one=np.array("text"))
    arrays = stored_arrays(tmp_path / "a.npz")
    np.testing.assert_array_equal(rows_of(arrays["matrix"], 1), matrix)
    assert list(arrays["nothing"].blocks(5)) == []
    assert arrays["matrix"].row_bytes == 12
    assert arrays["one"].whole() == "text"


def test_a_cut_file_says_how_many_rows_it_has(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((10, 4), np.float32))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-20])
    with pytest.raises(InputError, match=r"a.npy ends after 8 of 10 rows"):
        rows_of(stored_array(tmp_path / "a.npy"))


def test_a_header_that_promises_the_moon_allocates_nothing(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 512)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="ends after 0 of 1,000,000,000,000 rows"):
        rows_of(stored_array(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    "array", [np.array([{"a": 1}], dtype=object), np.zeros(2, [("x", "f4"), ("y", "i4")])]
)
def test_objects_and_records_are_not_read(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", ids=array, allow_pickle=True)
    with pytest.raises(InputError, match=r"a.npy holds Python objects or records"):
        stored_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"ids of .*a.npz holds Python objects or records"):
        stored_arrays(tmp_path / "a.npz")


def test_arrays_by_column_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.ones((3, 2))))
    with pytest.raises(InputError, match=r"is stored column by column; save numpy\.ascontiguous"):
        stored_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x09\x00ab"])
def test_what_is_no_array_is_named(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a.npy is damaged or no file of arrays"):
        stored_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a.npz is damaged or no file of arrays"):
        stored_arrays(tmp_path / "a.npz")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*a.npy: No such file"):
        stored_array(tmp_path / "a.npy")


def test_a_damaged_member_is_found_when_it_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(5000))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        offset = archive.getinfo("a.npy").header_offset
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[offset + 4000] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    stored = stored_arrays(tmp_path / "a.npz")["a"]
    with pytest.raises(InputError, match=r"damaged.*CRC"), array_errors(tmp_path / "a.npz"):
        rows_of(stored, 10_000)
