"""A review in a real browser, by keys, from the page to the decisions."""

import json
import os
import shutil
import subprocess
import time

import pytest

from indexer.settings import Settings
from schemas.duplicates import ReviewedGroup
from service.collection import Collection
from service.review.decisions import read_review
from service.review.page import write_review_page
from tests.makers.photos import drawn_photo, image_file
from tests.makers.stores import new_store, random_features
from tests.service.review.listed import listed_duplicates, listed_group, listed_photo

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)"),
]


class Browser:
    """Chromium without a window, driven through the pipes of its debugging protocol."""

    def __init__(self, folder):
        (to_read, self._requests), (self._answers, to_write) = os.pipe(), os.pipe()
        # As root, as in a container, it has no sandbox. It listens on descriptor 3, answers on 4.
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
        command = (str(BROWSER), *options, f"--user-data-dir={folder / 'profile'}")
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._unread = b""
        self._session: dict[str, str] = {}
        self.complaints: list[object] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        os.close(self._requests)
        os.close(self._answers)

    def call(self, method, **parameters):
        request = {"id": 1, "method": method, "params": parameters, **self._session}
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        while "id" not in (message := self._message()):
            if message["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])
        assert "error" not in message, message
        return message["result"]

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def open(self, uri):
        # The page before may still answer after the call returns.
        self.evaluate("window.isLeft = true")
        self.call("Page.navigate", url=uri)
        self.wait_for("!window.isLeft && document.readyState === 'complete'")

    def press(self, *keys):
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def wait_for(self, expression):
        while not self.evaluate(expression):
            time.sleep(0.02)

    def _message(self):
        while b"\0" not in self._unread:
            self._unread += os.read(self._answers, 2**16)
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)


@pytest.fixture
def collection(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(20))
    return Collection(store, Settings(collection=store.uri))


@pytest.fixture
def page(tmp_path, collection):
    """A page of three groups: 0 to 2; 3 and 4, which is gone; 5 to 7, which are similar."""
    photos = []
    for number in range(8):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(image_file(drawn_photo(number), "JPEG"))
        photos.append(listed_photo(number, path))
    (tmp_path / "4.jpg").unlink()
    listed = listed_duplicates(
        listed_group(*photos[:3]),
        listed_group(*photos[3:5]),
        listed_group(*photos[5:], tier="similar"),
        collection=collection.store.uri,
    )
    write_review_page(collection, listed, tmp_path / "review.html")
    return tmp_path / "review.html"


@pytest.fixture
def browser(tmp_path, page):
    with Browser(tmp_path) as opened:
        opened.open(page.as_uri())
        yield opened


def status(browser) -> str:
    return browser.evaluate("document.getElementById('status').textContent")


def saved_review(browser, folder, collection):
    path = folder / "decisions.json"
    path.unlink(missing_ok=True)
    browser.press("s")
    # The name is taken by an empty file until the download is complete.
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.02)
    return read_review(path, collection).groups


def test_proposals_are_saved_as_they_stand(browser, tmp_path, collection):
    assert status(browser) == "2 photos to the trash, 5.0 MB"
    assert saved_review(browser, tmp_path, collection) == [
        ReviewedGroup(keeper_id=0, copy_ids=[1, 2])
    ]
    assert browser.complaints == []


def test_a_review_by_keys(browser, tmp_path, collection):
    browser.press("j", "x")  # keep photo 1
    assert status(browser) == "1 photo to the trash, 2.5 MB"
    browser.press("ArrowRight", "m")  # photo 2 instead of photo 0
    browser.press("j", "x", "m")  # what is gone cannot be chosen
    browser.press("j", "3", " ")  # photo 7 into the trash
    browser.press("a", "z")  # and not out of it
    assert saved_review(browser, tmp_path, collection) == [
        ReviewedGroup(keeper_id=2, copy_ids=[0]),
        ReviewedGroup(keeper_id=5, copy_ids=[7]),
    ]
    assert browser.complaints == []


def test_decisions_outlast_a_reload(browser, page):
    browser.press("j", "x")
    assert status(browser) == "1 photo to the trash, 2.5 MB"
    # It may come back in another process, which what was stored reaches a moment later.
    for _ in range(20):
        browser.open(page.as_uri())
        if status(browser) == "1 photo to the trash, 2.5 MB":
            return
    pytest.fail(f"after the reload: {status(browser)}")


def test_all_at_once(browser):
    browser.evaluate("document.getElementById('none').click()")
    assert status(browser) == "0 photos to the trash, 0 bytes"
    assert browser.evaluate("document.getElementById('save').disabled")
    browser.evaluate("document.getElementById('accept').click()")
    assert status(browser) == "2 photos to the trash, 5.0 MB"


def test_keys_are_explained_and_can_be_turned_off(browser):
    browser.press("?")
    assert browser.evaluate("document.querySelector('dialog').open")
    browser.evaluate("document.getElementById('keys').click()")
    browser.evaluate("document.querySelector('dialog button').click()")
    assert not browser.evaluate("document.querySelector('dialog').open")
    browser.press("j", "x")
    assert status(browser) == "2 photos to the trash, 5.0 MB"
    assert browser.complaints == []
