"""A real browser on a real server with a small collection, and what every page must keep to."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from service.web.options import ServingOptions
from tests.fakes import COLOURS
from tests.makers.libraries import indexed_folder
from tests.makers.photos import drawn_photo, exif_block, image_file
from tests.service.web.apps import app_of
from tests.service.web.servers import running_server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium (apt-get install chromium)"
)

# The EXIF tag DateTimeOriginal.
DATE_TAKEN = 0x9003

WIDE = (1280, 800)
NARROW = (390, 844)

EMOJI_NAME = "👩‍👩‍👧 <img src=x onerror=alert(1)> & שלום.jpg"
LINES_NAME = "two\nlines.jpg"
LONG_NAME = f"{'a name that goes on and on ' * 8}.jpg"

# Slower than this is a fault on any machine; most answers come within a tenth.
_WAIT_MILLISECONDS = 15_000
expect.set_options(timeout=_WAIT_MILLISECONDS)


def indexed_album(folder: Path, place: Path) -> int:
    """Index flat colours, and drawn photos by year with awkward names; return how many."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 32), colour).save(folder / f"{name}.png")
    for seed in range(40):
        year, month = 2011 + seed // 20, 1 + seed % 12
        parent = folder / str(year) / f"month {month}"
        parent.mkdir(parents=True, exist_ok=True)
        exif = exif_block(camera={DATE_TAKEN: f"{year}:{month:02d}:15 12:00:00"})
        (parent / f"drawn {seed}.jpg").write_bytes(_jpeg(seed, exif=exif))
    for seed, name in enumerate((EMOJI_NAME, LINES_NAME, LONG_NAME), 100):
        (folder / name).write_bytes(_jpeg(seed))
    return len(indexed_folder(folder, place).store.images(["image_id"]))


def _jpeg(seed: int, **options: Any) -> bytes:
    return image_file(drawn_photo(seed), "JPEG", **options)


def png_bytes(colour: str) -> bytes:
    """Return a photo of one colour that is not in any collection."""
    file = io.BytesIO()
    Image.new("RGB", (40, 40), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Give a headless Chromium."""
    with sync_playwright() as playwright:
        # Containers have no user namespaces for its sandbox; it sees nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(place: Path, *, options: ServingOptions | None = None) -> Iterator[str]:
    """Serve a collection of the fake encoder, and give the address of its page."""
    with running_server(app_of(place, options=options)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def visited(
    browser: Browser,
    site: str,
    path: str = "/",
    *,
    theme: Literal["light", "dark"] = "light",
    size: tuple[int, int] = WIDE,
    tolerated: tuple[str, ...] = (),
) -> Iterator[Page]:
    """Open a page of a site, and check at the end that it broke no rule.

    It writes no error to the console, raises none, breaks no security policy (which is written to
    the console) and asks no other server. Chromium also writes there what it could not load:
    messages that hold a text of `tolerated`, as in "status of 404", are meant to come.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, base_url=site
    )
    context.set_default_timeout(_WAIT_MILLISECONDS)
    page = context.new_page()
    complaints = _complaints(page, site, tolerated)
    page.goto(path)
    yield page
    context.close()
    assert complaints == []


def _complaints(page: Page, site: str, tolerated: tuple[str, ...]) -> list[str]:
    complaints: list[str] = []

    def heard(message: Any) -> None:
        is_meant = any(text in message.text for text in tolerated)
        if message.type in ("error", "warning") and not is_meant:
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((site, "blob:")):
            complaints.append(f"asked for {request.url}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", asked)
    return complaints


def accessibility_faults(page: Page) -> list[str]:
    """Return what axe finds, each as its rule and the elements."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {[node['html'][:120] for node in rule['nodes']]}" for rule in found]


def panel_of(page: Page) -> Locator:
    """Return the panel of a photo; the filters are a dialog too."""
    return page.locator("dialog.panel")


def names_in_view(page: Page) -> list[str]:
    """Return what screen readers call the photos of the grid, in order."""
    return [tile.get_attribute("aria-label") or "" for tile in page.locator(".tile").all()]
