"""A cache of small files: what it keeps, what it drops, and what it does without."""

import os
import stat
import threading
import time

import pytest

from service import thumbnail_cache as module
from service.thumbnail_cache import ThumbnailCache

CHECKSUM_BYTES = 4
DAY = 86_400


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "thumbnails"


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def used(path, *, seconds_ago):
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path.stat().st_mtime_ns


def test_what_was_put_is_kept_by_key_for_all_who_share_the_folder(folder):
    cache = ThumbnailCache(folder)
    cache.put("a 256", b"small")
    cache.put("a 1280", b"large")
    cache.put("a 256", b"smaller")
    other = ThumbnailCache(folder)
    assert [other.get(key) for key in ("a 256", "a 1280", "b 256")] == [b"smaller", b"large", None]


def test_a_key_may_hold_anything(folder):
    cache = ThumbnailCache(folder)
    for key in ("../../../a", "/etc/passwd", "", "\0", "k" * 5000):
        cache.put(key, key.encode())
        assert cache.get(key) == key.encode()
    assert files_in(folder.parent.parent) == files_in(folder)


def test_only_the_owner_can_read_what_is_kept(folder):
    old = os.umask(0)
    try:
        ThumbnailCache(folder).put("a", b"private")
    finally:
        os.umask(old)
    (file,) = files_in(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, folder)] == [0o700] * 2


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda kept: b"", id="empty"),
        pytest.param(lambda kept: kept[:3], id="shorter-than-a-checksum"),
        pytest.param(lambda kept: kept[:-10], id="truncated"),
        pytest.param(lambda kept: bytes(len(kept)), id="zeros-after-a-power-cut"),
        pytest.param(lambda kept: kept[:50] + b"?" + kept[51:], id="one-byte"),
    ],
)
def test_what_is_damaged_is_not_shown_and_is_replaced(folder, damage):
    cache = ThumbnailCache(folder)
    content = bytes(range(100))
    cache.put("a", content)
    (file,) = files_in(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("a") is None
    cache.put("a", content)
    assert cache.get("a") == content


def test_the_least_recently_used_are_dropped_down_to_nine_tenths(folder):
    before = ThumbnailCache(folder)
    content = bytes(1000 - CHECKSUM_BYTES)
    for number in range(10):
        before.put(f"{number}", content)
        used(before._path(f"{number}"), seconds_ago=10 * DAY - number)
    before.get("0")
    cache = ThumbnailCache(folder, max_bytes=10_000)
    cache.put("10", content)
    cache.close()
    kept = [key for key in map(str, range(11)) if cache.get(key) is not None]
    assert kept == ["0", "3", "4", "5", "6", "7", "8", "9", "10"]


def test_a_folder_filled_by_others_is_brought_below_the_limit(folder):
    other = ThumbnailCache(folder)
    for number in range(50):
        other.put(f"{number}", bytes(1000))
    cache = ThumbnailCache(folder, max_bytes=20_000)
    cache.put("mine", bytes(1000))
    cache.close()
    assert 16_000 < sum(path.stat().st_size for path in files_in(folder)) <= 18_000
    assert cache.get("mine") is not None


def test_two_that_write_to_a_folder_stay_within_a_tenth_each_of_the_limit(folder):
    limit = 100_000
    first, second = (ThumbnailCache(folder, max_bytes=limit) for _ in range(2))
    largest = 0
    for number in range(60):
        for cache, name in ((first, "a"), (second, "b")):
            cache.put(f"{name}{number}", bytes(4000))
            cache.close()
        largest = max(largest, sum(path.stat().st_size for path in files_in(folder)))
    assert 0.9 * limit < largest <= 1.2 * limit


def test_the_folder_is_listed_once_in_a_while_only(folder, monkeypatch):
    listings = []
    real = module._kept_files

    def counted_listing(path):
        listings.append(path)
        return real(path)

    monkeypatch.setattr(module, "_kept_files", counted_listing)
    cache = ThumbnailCache(folder, max_bytes=1_000_000)
    for number in range(150):
        cache.put(f"{number}", bytes(1000))
        cache.close()
        cache.get(f"{number}")
    # For the first, and whenever a tenth of the limit was written.
    assert len(listings) == 2


def test_nothing_waits_while_the_folder_is_listed(folder, monkeypatch):
    go_on = threading.Event()

    def slow_listing(path):
        go_on.wait(10)
        return iter(())

    monkeypatch.setattr(module, "_kept_files", slow_listing)
    cache = ThumbnailCache(folder)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert (cache.get("a"), cache.get("b")) == (b"1", b"2")
    go_on.set()
    cache.close()


def test_what_others_keep_in_the_folder_stays(folder):
    shard = folder / "ab"
    shard.mkdir(parents=True)
    strange = [folder / "photo.jpg", shard / "photo.jpg", folder / "2024" / "a.thumbnail"]
    strange[2].parent.mkdir()
    for path in strange:
        path.write_bytes(bytes(1000))
    cut_short = shard / "x.thumbnail-part"
    cut_short.write_bytes(bytes(1000))
    used(cut_short, seconds_ago=DAY)
    cache = ThumbnailCache(folder, max_bytes=100)
    cache.put("a", bytes(50))
    cache.close()
    assert all(path.exists() for path in strange)
    assert not cut_short.exists()
    assert cache.get("a") is not None


def test_a_limit_of_nothing_keeps_nothing(folder):
    cache = ThumbnailCache(folder, max_bytes=0)
    cache.put("a", b"1")
    cache.close()
    assert cache.get("a") is None
    assert files_in(folder) == []


def test_a_limit_below_nothing_is_refused(folder):
    with pytest.raises(ValueError, match="max_bytes must be >= 0, got -1"):
        ThumbnailCache(folder, max_bytes=-1)


@pytest.mark.parametrize(
    ("seconds_ago", "is_noted"), [(2 * DAY, True), (DAY / 2, False)], ids=["days", "hours"]
)
def test_use_is_noted_once_a_day(folder, seconds_ago, is_noted):
    cache = ThumbnailCache(folder)
    cache.put("a", b"1")
    (file,) = files_in(folder)
    before = used(file, seconds_ago=seconds_ago)
    assert cache.get("a") == b"1"
    assert (file.stat().st_mtime_ns != before) is is_noted
    assert (file.stat().st_mtime > time.time() - 60) is is_noted


@pytest.fixture
def refuse(monkeypatch):
    """Let a call of the operating system fail, as permissions do not stop root."""

    def refuse_call(owner, name, code):
        def failing(*_, **__):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(owner, name, failing)

    return refuse_call


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    cache = ThumbnailCache(tmp_path / "file")
    cache.put("a", b"1")
    assert cache.get("a") is None
    cache.close()


def test_a_folder_that_became_read_only_still_shows_what_it_keeps(folder, refuse):
    cache = ThumbnailCache(folder)
    cache.put("a", b"1")
    (file,) = files_in(folder)
    used(file, seconds_ago=2 * DAY)
    cache.close()
    refuse(module, "NamedTemporaryFile", 30)
    refuse(os, "utime", 30)
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    assert cache.get("b") is None


def test_a_full_disk_leaves_no_parts(folder, refuse):
    cache = ThumbnailCache(folder)
    refuse(os, "replace", 28)
    cache.put("a", b"1")
    assert cache.get("a") is None
    assert files_in(folder) == []


def test_threads_that_put_and_get_see_whole_contents(folder):
    cache = ThumbnailCache(folder, max_bytes=60_000)
    seen = []

    def work(start):
        for number in range(start, start + 60):
            key = f"{number % 20}"
            cache.put(key, key.encode() * 1000)
            seen.append((key, cache.get(key)))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert len(seen) == 240
    assert {(key, content) for key, content in seen if content is not None} <= {
        (f"{number}", f"{number}".encode() * 1000) for number in range(20)
    }
