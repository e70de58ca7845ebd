import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.errors import InputError
from service.exchange.vector_files import MARK, MAX_DIMENSIONS, TEXT_COLUMN, vector_parts
from tests.makers.vectors import clip_retrieval_folder, raw_vectors, unit_vectors, vector_lists


def whole(parts):
    """All vectors, and all columns as lists."""
    blocks = [block for part in parts for block in part.blocks()]
    columns = {
        name: [value for block in blocks for value in block.columns[name].to_pylist()]
        for name in blocks[0].columns
    }
    return np.concatenate([block.vectors for block in blocks]), columns


def only(path, **options):
    (part,) = vector_parts(path, **options)
    return part


# clip-retrieval


def test_parts_of_clip_retrieval_come_in_numeric_order(tmp_path):
    vectors = unit_vectors(12)
    names = [f"{row}.jpg" for row in range(12)]
    folder = clip_retrieval_folder(tmp_path / "f", vectors, part_rows=1, image_path=names)
    (folder / "img_emb" / "img_emb_02.npy").rename(folder / "img_emb" / "img_emb_2.npy")
    (folder / "img_emb" / ".DS_Store").touch()
    parts = vector_parts(folder)
    assert [part.n_rows for part in parts] == [1] * 12
    read, columns = whole(parts)
    np.testing.assert_array_equal(read, vectors)
    assert columns == {"image_path": names}


def test_embeddings_of_captions_become_a_column(tmp_path):
    vectors, texts = unit_vectors(5), unit_vectors(5, seed=1)
    folder = clip_retrieval_folder(
        tmp_path / "f", vectors, part_rows=3, texts=texts, caption=list("abcde")
    )
    parts = vector_parts(folder)
    assert parts[0].columns.field(TEXT_COLUMN).type == pa.list_(pa.float16(), 6)
    _, columns = whole(parts)
    np.testing.assert_array_equal(np.array(columns[TEXT_COLUMN], np.float32), texts)
    assert columns["caption"] == list("abcde")


def test_metadata_may_be_missing_altogether(tmp_path):
    (tmp_path / "f" / "img_emb").mkdir(parents=True)
    np.save(tmp_path / "f" / "img_emb" / "img_emb_0.npy", unit_vectors(2))
    read, columns = whole(vector_parts(tmp_path / "f"))
    assert (len(read), columns) == (2, {})


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("metadata/metadata_1.parquet", "has img_emb_1.npy but no metadata with the number 1"),
        ("img_emb/img_emb_0.npy", r"has metadata_0.parquet but no img_emb with the number 0"),
        ("text_emb/text_emb_1.npy", "has img_emb_1.npy but no text_emb with the number 1"),
    ],
)
def test_a_lost_part_is_named(tmp_path, lost, message):
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(4), part_rows=2, texts=unit_vectors(4), caption=list("abcd")
    )
    (folder / lost).unlink()
    with pytest.raises(InputError, match=message):
        vector_parts(folder)


def test_two_parts_with_one_number_are_named(tmp_path):
    folder = clip_retrieval_folder(tmp_path / "f", unit_vectors(1), part_rows=1, caption=["a"])
    np.save(folder / "img_emb" / "img_emb_00.npy", unit_vectors(1))
    with pytest.raises(InputError, match=r"img_emb_00.npy are both part 0|both part 0"):
        vector_parts(folder)


def test_an_empty_folder_of_images_is_named(tmp_path):
    (tmp_path / "img_emb").mkdir()
    with pytest.raises(InputError, match=r"holds no img_emb_0.npy"):
        vector_parts(tmp_path)


@pytest.mark.parametrize("kind", ["metadata", "text_emb"])
def test_counts_that_differ_are_told(tmp_path, kind):
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(4), part_rows=4, texts=unit_vectors(4), caption=list("abcd")
    )
    if kind == "metadata":
        parquet.write_table(pa.table({"a": [1]}), folder / "metadata" / "metadata_0.parquet")
        expected = r"metadata_0.parquet has 1 rows, but img_emb_0.npy has 4"
    else:
        np.save(folder / "text_emb" / "text_emb_0.npy", unit_vectors(3))
        expected = r"text_emb_0.npy has 3 rows, but img_emb_0.npy has 4"
    with pytest.raises(InputError, match=expected):
        vector_parts(folder)


def test_captions_of_another_length_are_refused(tmp_path):
    folder = clip_retrieval_folder(
        tmp_path / "f",
        unit_vectors(2),
        part_rows=2,
        texts=unit_vectors(2, dim=5),
        caption=["a", ""],
    )
    with pytest.raises(InputError, match="has vectors of 5 numbers, the images have 6"):
        vector_parts(folder)


# Parquet


def test_lists_of_any_kind_are_vectors(tmp_path):
    vectors = raw_vectors(5)
    for number, kind in enumerate(
        [pa.list_(pa.float32(), 6), pa.list_(pa.float64()), pa.large_list(pa.float16())]
    ):
        table = pa.table({"clip": pa.array(list(vectors)).cast(kind), "name": list("abcde")})
        parquet.write_table(table, tmp_path / f"{number}.parquet", row_group_size=2)
        part = only(tmp_path / f"{number}.parquet")
        read, columns = whole([part])
        np.testing.assert_array_equal(read, vectors)
        assert (part.dim, part.n_rows, columns) == (6, 5, {"name": list("abcde")})


def test_a_list_that_is_null_is_not_finite_and_so_is_a_null_number(tmp_path):
    lists = pa.array([None, [1.0, 2.0], [None, 4.0]], pa.list_(pa.float32(), 2))
    parquet.write_table(pa.table({"v": lists}), tmp_path / "a.parquet")
    read, _ = whole([only(tmp_path / "a.parquet")])
    np.testing.assert_array_equal(read, [[np.nan, np.nan], [1, 2], [np.nan, 4]])


def test_a_list_of_another_length_is_refused_with_its_row(tmp_path):
    lists = pa.array([[1.0, 2.0], [1.0], [3.0, 4.0]])
    parquet.write_table(pa.table({"v": lists}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 1 of .* has a vector of 1 numbers, others have 2"):
        whole([only(tmp_path / "a.parquet")])


def test_several_columns_of_vectors_need_a_choice(tmp_path):
    vectors = raw_vectors(2)
    table = pa.table({"a": vector_lists(vectors), "b": vector_lists(2 * vectors)})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="several columns of vectors: 'a', 'b'; choose one with"):
        vector_parts(tmp_path / "a.parquet")
    part = only(tmp_path / "a.parquet", vector_column="b")
    np.testing.assert_array_equal(whole([part])[0], 2 * vectors)
    assert part.left_out == {"a": "is a list"}


def test_the_usual_name_is_the_choice(tmp_path):
    vectors = raw_vectors(2)
    np.savez(tmp_path / "a.npz", other=2 * vectors, embeddings=vectors)
    part = only(tmp_path / "a.npz")
    np.testing.assert_array_equal(whole([part])[0], vectors)
    assert part.left_out == {"other": "has the shape (2, 6)"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [("c", "'c' in .* does not exist"), ("name", "'name' in .* vectors are 'v' there")],
)
def test_a_choice_that_is_none_is_refused(tmp_path, asked, message):
    parquet.write_table(
        pa.table({"v": vector_lists(raw_vectors(1)), "name": ["a"]}), tmp_path / "a.parquet"
    )
    np.savez(tmp_path / "a.npz", v=raw_vectors(1), name=np.array(["a"]))
    for name in ("a.parquet", "a.npz"):
        with pytest.raises(InputError, match=message):
            vector_parts(tmp_path / name, vector_column=asked)


def test_types_that_cannot_be_filtered_by_are_left_out(tmp_path):
    table = pa.table(
        {
            "embedding": vector_lists(raw_vectors(2)),
            "exif": [{"iso": 100}, {"iso": 200}],
            "tags": [["a"], ["b"]],
            "nothing": pa.nulls(2),
            "__index_level_0__": [0, 1],
            "kind": pa.array(["x", "y"]).dictionary_encode(),
            "price": pa.array([Decimal(1), Decimal(2)], pa.decimal128(10, 2)),
            "half": pa.array(np.array([1, 2], np.float16)),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    part = only(tmp_path / "a.parquet")
    assert dict(part.left_out) == {
        "exif": "has the type struct<iso: int64>",
        "tags": "has the type list<element: string>",
        "nothing": "has the type null",
        "__index_level_0__": "is an index of pandas",
    }
    assert whole([part])[1] == {"kind": ["x", "y"], "price": [1.0, 2.0], "half": [1.0, 2.0]}


def test_a_folder_of_parquet_files_is_one_source(tmp_path):
    for number in range(2):
        table = pa.table({"v": vector_lists(raw_vectors(2, seed=number)), "n": [number] * 2})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    assert whole(vector_parts(tmp_path))[1] == {"n": [0, 0, 1, 1]}


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has neither img_emb/img_emb_0.npy.* nor Parquet files"):
        vector_parts(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"a": [1]}), "has no vectors: no matrix and no column of lists"),
        (pa.table({"v": pa.nulls(2, pa.list_(pa.float32()))}), "v of .* has no vector"),
    ],
)
def test_a_table_without_vectors_is_refused(tmp_path, table, message):
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        vector_parts(tmp_path / "a.parquet")


def test_what_is_no_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(InputError, match=r"cannot read .*a.parquet as Parquet"):
        vector_parts(tmp_path / "a.parquet")


# NPZ and NPY


def test_arrays_of_an_npz_are_columns(tmp_path):
    vectors = raw_vectors(3)
    np.savez(
        tmp_path / "a.npz",
        vectors=vectors,
        ids=np.array([7, 8, 9]),
        names=np.array(["a", "b", "ß"]),
        raw=np.array([b"x", b"y", b"z"]),
        is_good=np.array([True, False, True]),
        half=np.array([0.5, 1, 2], np.float16),
        day=np.array(["2024-01-01"] * 3, "M8[W]"),
        complex=np.array([1j] * 3),
        version=np.array(3),
    )
    part = only(tmp_path / "a.npz")
    read, columns = whole([part])
    np.testing.assert_array_equal(read, vectors)
    assert columns["ids"] == [7, 8, 9]
    assert columns["names"] == ["a", "b", "ß"]
    assert columns["raw"] == ["x", "y", "z"]
    assert columns["is_good"] == [True, False, True]
    assert columns["half"] == [0.5, 1, 2]
    assert str(columns["day"][0]) == "2023-12-28 00:00:00"
    assert part.left_out == {"complex": "has the type complex128", "version": "is a single value"}


def test_a_mask_says_what_is_null(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        allow_pickle=False,
        **{
            "vectors": raw_vectors(2),
            "width": np.array([5, 0]),
            "width.null": np.array([False, True]),
        },
    )
    assert whole([only(tmp_path / "a.npz")])[1] == {"width": [5, None]}


def test_captions_of_an_npz_and_nan_among_them(tmp_path):
    texts = unit_vectors(2)
    texts[1] = np.nan
    np.savez(tmp_path / "a.npz", embedding=raw_vectors(2), text_embedding=texts)
    (first, second) = whole([only(tmp_path / "a.npz")])[1][TEXT_COLUMN]
    np.testing.assert_array_equal(np.array(first, np.float32), texts[0])
    assert second is None


def test_values_larger_than_a_block_are_left_out(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", vectors=raw_vectors(2), text=np.array(["a" * 100, "b"]))
    monkeypatch.setattr("service.exchange.vector_files.BLOCK_BYTES", 399)
    assert only(tmp_path / "a.npz").left_out == {"text": "has values of 0 MB"}


def test_an_array_of_another_count_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", vectors=raw_vectors(3), ids=np.arange(2))
    with pytest.raises(InputError, match=r"ids of .* has 2 rows, but vectors of .* has 3"):
        vector_parts(tmp_path / "a.npz")


def test_an_npy_file_is_vectors_alone(tmp_path):
    np.save(tmp_path / "a.npy", raw_vectors(2))
    assert whole([only(tmp_path / "a.npy")])[1] == {}
    with pytest.raises(InputError, match="one array without a name; leave out --vector-column"):
        vector_parts(tmp_path / "a.npy", vector_column="a")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"holds float32 of the shape \(3,\); vectors are float16 or"),
        (np.zeros((2, 2, 2)), r"holds float64 of the shape \(2, 2, 2\)"),
        (np.zeros((3, 2), np.int8), "holds int8 of the shape"),
        (np.zeros((3, 0), np.float32), "has vectors of 0 numbers; 1 to 8,192"),
        (np.zeros((1, MAX_DIMENSIONS + 1), np.float16), "has vectors of 8,193 numbers"),
    ],
)
def test_matrices_of_another_shape_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        vector_parts(tmp_path / "a.npy")


def test_numbers_beyond_float32_are_infinite(tmp_path):
    np.save(tmp_path / "a.npy", np.full((1, 2), 1e300))
    assert np.isinf(whole([only(tmp_path / "a.npy")])[0]).all()


# All kinds


@pytest.mark.parametrize("name", ["a.csv", "a"])
def test_other_files_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"holds no vectors that can be read; give a folder"):
        vector_parts(tmp_path / name)


def test_a_source_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a.npz does not exist"):
        vector_parts(tmp_path / "a.npz")


def test_blocks_have_bounded_rows_and_fit_together(tmp_path, monkeypatch):
    vectors = raw_vectors(50)
    table = pa.table({"embedding": vector_lists(vectors), "n": range(50)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    np.savez(tmp_path / "a.npz", embedding=vectors, n=np.arange(50))
    clip_retrieval_folder(tmp_path / "f", vectors, part_rows=50, n=list(range(50)))
    parquet.write_table(
        pa.table({"n": range(50)}), tmp_path / "f/metadata/metadata_0.parquet", row_group_size=3
    )
    monkeypatch.setattr("service.exchange.vector_files.BLOCK_BYTES", 11 * 4 * 6)
    for source in ("a.parquet", "a.npz", "f"):
        part = only(tmp_path / source)
        assert [len(block.vectors) for block in part.blocks()] == [11, 11, 11, 11, 6]
        read, columns = whole([part])
        np.testing.assert_array_equal(read, vectors)
        assert columns["n"] == list(range(50))


@pytest.mark.parametrize(
    ("mark", "expected"),
    [(json.dumps({"model": "m"}), {"model": "m"}), ("{", {}), ("[1]", {})],
)
def test_marks_are_read_and_others_are_not(tmp_path, mark, expected):
    np.savez(tmp_path / "a.npz", embedding=raw_vectors(1), isophote=np.array(mark))
    table = pa.table({"embedding": vector_lists(raw_vectors(1))})
    parquet.write_table(table.replace_schema_metadata({MARK: mark}), tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        assert only(tmp_path / name).mark == expected
