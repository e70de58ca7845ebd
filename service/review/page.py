"""A page on which a person reviews groups of duplicates: one HTML file that needs nothing else."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from indexer.scan import filesystem_path
from indexer.settings import available_cores
from schemas.duplicates import DuplicateCopy, DuplicateGroup, DuplicateList, DuplicatePhoto
from schemas.tiers import Tier
from service.collection import Collection
from service.duplicates.threshold_text import threshold_text
from service.lines import counted, shown_share
from service.review.thumbnails import NoThumbnail, thumbnails
from service.table_files import replaced_file
from service.thumbnails import Thumbnail

MAX_GROUPS = 500
"""Groups on a page by default: an afternoon's work, and about 20 MB of thumbnails."""

MAX_COPIES = 100
"""Copies of one group that are shown; a folder of blank scans may have thousands."""

APPLY_COMMAND = "isophote duplicates --apply --reviewed decisions.json"
"""What the page tells to do with the saved decisions."""

# More would wait for the disk, and each holds a decoded photo in memory.
_MAX_THREADS = 4

_PROPOSED_TIERS: frozenset[Tier] = frozenset(("bytes", "pixels", "near"))

_TIER_WORDS: dict[Tier, str] = {
    "bytes": "same bytes",
    "pixels": "same pixels",
    "near": "near-duplicate",
    "similar": "similar",
}

_VERDICT_WORDS = {"keeper": "Keeper", "trash": "Trash", "keep": "Keep"}

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_UNIT_STEP = 1000

# Control characters would break lines, and those that stand for bytes which are no UTF-8 have no
# glyph; see indexer.scan.
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x10FF00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)
}

_KEYS = (
    ("j k", "next and previous group"),
    ("← →", "photo to the left and to the right"),
    ("1 … 9", "photo of that number"),
    ("x or space", "choose between trash and keep"),
    ("m", "make this the keeper"),
    ("a", "keep all of the group"),
    ("z", "undo"),
    ("s", "save decisions"),
    ("?", "show these keys"),
)

Picture = Thumbnail | NoThumbnail


def write_review_page(
    collection: Collection, listed: DuplicateList, target: Path, *, max_groups: int = MAX_GROUPS
) -> None:
    """Write a page that shows groups of duplicates, and on which to decide what goes.

    It makes no request and works from a folder; without scripts it is a report of the proposals.
    Proposed for the trash are copies of the tiers bytes, pixels and near. Nothing is proposed that
    cannot be shown, nor instead of a keeper that cannot, because its file is gone, has changed
    since it was indexed, or is damaged.

    Parameters
    ----------
    collection : Collection
        Whose photos are listed; their files are read.
    listed : DuplicateList
    target : Path
        Replaced at once when the page is complete.
    max_groups : int
        Groups on the page, the first ones; at least 1. Of each, up to MAX_COPIES copies.

    Raises
    ------
    ValueError
        If `max_groups` is below 1.
    InputError
        If the file cannot be written.
    """
    if max_groups < 1:
        raise ValueError(f"max_groups must be >= 1, got {max_groups}")
    groups = listed.groups[:max_groups]
    photos = (photo for group in groups for photo in _photos(group))
    pictures = thumbnails(
        photos,
        max_pixels=collection.settings.max_pixels,
        n_threads=min(available_cores(), _MAX_THREADS),
    )
    with closing(pictures), replaced_file(target) as file:
        for part in _page_parts(collection.store.info.created_at, listed, groups, pictures):
            file.write(part.encode())


def _photos(group: DuplicateGroup) -> list[DuplicatePhoto]:
    return [group.keeper, *(copy.photo for copy in group.copies[:MAX_COPIES])]


def _page_parts(
    created_at: datetime,
    listed: DuplicateList,
    groups: Sequence[DuplicateGroup],
    pictures: Iterator[Picture],
) -> Iterator[str]:
    """Yield the page piece by piece, so that it need not fit into memory."""
    style, script = _asset("page.css"), _asset("page.js")
    made_at = datetime.now(UTC)
    yield _head(style, script) + _intro(listed, len(groups), made_at)
    if groups:
        yield _bar()
    key = f"isophote review of {created_at.isoformat()} made {made_at.isoformat()}"
    yield (
        f'<main data-collection="{_shown(listed.collection)}" '
        f'data-created-at="{created_at.isoformat()}" data-key="{key}">\n'
    )
    for number, group in enumerate(groups, 1):
        yield from _group_parts(number, group, pictures)
    yield f"</main>\n{_help()}"
    yield f"<script>{script}</script>\n</body>\n</html>\n" if groups else "</body>\n</html>\n"


def _head(style: str, script: str) -> str:
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Browsers that get the page from a server ask it for an icon otherwise.
        '<link rel="icon" href="data:,">\n'
        f"<title>Isophote duplicates</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )


def _intro(listed: DuplicateList, n_shown: int, made_at: datetime) -> str:
    facts = {
        "Collection": listed.collection,
        "Compared": counted(listed.n_compared, "photo"),
        "Alike": _rule(listed),
        "Found": f"{counted(listed.n_copies, 'copy', 'copies')} in "
        f"{counted(len(listed.groups), 'group')}, {_shown_bytes(listed.n_bytes)}",
        "Made": f"{made_at:%Y-%m-%d %H:%M} UTC by isophote {version('isophote')}",
    }
    rows = "".join(f"<dt>{name}</dt><dd>{_shown(value)}</dd>\n" for name, value in facts.items())
    return (
        '<header>\n<h1>Duplicates to review</h1>\n<div class="intro">\n'
        f"{_shown_groups(n_shown, len(listed.groups))}"
        "<noscript><p>Scripts are off: this page shows what is proposed, and nothing can be "
        "decided on it.</p></noscript>\n"
        f'</div>\n<dl class="facts">\n{rows}</dl>\n</header>\n'
    )


def _rule(listed: DuplicateList) -> str:
    """Tell what two photos had to have in common."""
    if listed.threshold is None:
        return f"by their {listed.tier}"
    return f"tier {listed.tier} {threshold_text(listed.threshold)}"


def _shown_groups(n_shown: int, n_groups: int) -> str:
    if not n_groups:
        return "<p>No duplicates were found.</p>\n"
    limit = (
        f"<p><strong>{n_shown:,} of {counted(n_groups, 'group')} shown</strong>, those that free "
        "most; the others stay as they are.</p>\n"
    )
    return (
        f"{limit if n_shown < n_groups else ''}"
        "<p>Each photo says what is proposed: to be the keeper, to be kept too, or to go to the "
        'trash. <span class="needs-script">Nothing is moved by this page: save your decisions, '
        f"then run <code>{APPLY_COMMAND}</code> where that file is.</span></p>\n"
    )


def _bar() -> str:
    return (
        '<div class="bar needs-script" role="region" aria-label="Decisions">\n'
        '<p id="status" role="status"></p>\n'
        '<button type="button" id="accept">Accept all proposals</button>\n'
        '<button type="button" id="none">Keep everything</button>\n'
        '<button type="button" id="undo" aria-keyshortcuts="z">Undo</button>\n'
        '<button type="button" id="help" aria-haspopup="dialog" aria-keyshortcuts="?">Keys'
        "</button>\n"
        '<button type="button" id="save" class="primary" aria-keyshortcuts="s">Save decisions'
        "</button>\n</div>\n"
    )


def _help() -> str:
    rows = "".join(
        f"<dt>{' '.join(_key(word) for word in keys.split())}</dt><dd>{does}</dd>\n"
        for keys, does in _KEYS
    )
    return (
        '<dialog aria-labelledby="keys-title">\n<h2 id="keys-title">Keys</h2>\n'
        f'<dl class="facts">\n{rows}</dl>\n'
        '<label><input type="checkbox" id="keys" checked> Use these keys</label>\n'
        '<form method="dialog"><button class="primary">Close</button></form>\n</dialog>\n'
    )


def _key(word: str) -> str:
    return word if word in ("or", "…") else f"<kbd>{word}</kbd>"


def _group_parts(number: int, group: DuplicateGroup, pictures: Iterator[Picture]) -> Iterator[str]:
    n_shown = min(len(group.copies), MAX_COPIES)
    n_bytes = sum(copy.photo.file_size or 0 for copy in group.copies)
    left_out = (
        f"; the {n_shown:,} closest are shown, the others stay"
        if n_shown < len(group.copies)
        else ""
    )
    arrangement = "photos pair" if n_shown == 1 else "photos"
    yield (
        f'<section class="group" aria-labelledby="group-{number}">\n<div class="heading">\n'
        f'<h2 id="group-{number}">Group {number:,}</h2>\n'
        f"<p>{counted(len(group.copies), 'copy', 'copies')}, {_shown_bytes(n_bytes)}; smallest "
        f"similarity {shown_share(group.smallest_similarity)}{left_out}</p>\n"
        '<button type="button" class="keep-all needs-script" aria-keyshortcuts="a" '
        f'aria-describedby="group-{number}">Keep all</button>\n</div>\n'
        f'<div class="{arrangement}">\n'
    )
    picture = next(pictures)
    yield _card(f"{number}-1", group.keeper, picture, "keeper", _keeper_lines(group))
    can_propose = isinstance(picture, Thumbnail)
    for place, copy in enumerate(group.copies[:MAX_COPIES], 2):
        picture = next(pictures)
        is_proposed = (
            can_propose and isinstance(picture, Thumbnail) and copy.tier in _PROPOSED_TIERS
        )
        verdict = "trash" if is_proposed else "keep"
        yield _card(f"{number}-{place}", copy.photo, picture, verdict, _copy_lines(copy))
    yield "</div>\n</section>\n"


def _keeper_lines(group: DuplicateGroup) -> str:
    return f"<p>Proposed as keeper: {_shown(group.reason)}</p>\n"


def _copy_lines(copy: DuplicateCopy) -> str:
    similarity = f"similarity {shown_share(copy.similarity)}"
    told = dict.fromkeys((copy.difference, _TIER_WORDS[copy.tier], similarity))
    return f"<p>Compared with 1: {_shown(', '.join(told))}</p>\n"


def _card(place: str, photo: DuplicatePhoto, picture: Picture, verdict: str, lines: str) -> str:
    """Return a photo with what is known of it; `place` is group and number, as in "3-1"."""
    folder, _, name = photo.path.rpartition("/")
    facts = "".join(f"<li>{_shown(fact)}</li>\n" for fact in _facts(photo))
    choice = _choice(place, is_trash=verdict == "trash") if isinstance(picture, Thumbnail) else ""
    return (
        f'<article class="photo" tabindex="-1" data-id="{photo.image_id}" '
        f'data-bytes="{photo.file_size or 0}" data-verdict="{verdict}" '
        f'aria-labelledby="name-{place} verdict-{place}">\n'
        f'<p class="verdict"><span class="number">{place.partition("-")[2]}</span> '
        f'<span class="word" id="verdict-{place}">{_VERDICT_WORDS[verdict]}</span></p>\n'
        f"{_picture(photo, picture)}"
        f'<h3 id="name-{place}"><bdi>{_shown(name)}</bdi></h3>\n'
        f'<p class="folder"><bdi>{_shown(folder)}</bdi></p>\n'
        f'<ul class="known">\n{facts}</ul>\n<div class="remark">\n{lines}</div>\n{choice}'
        "</article>\n"
    )


def _picture(photo: DuplicatePhoto, picture: Picture) -> str:
    if isinstance(picture, NoThumbnail):
        return f'<p class="picture missing"><span>This file {_shown(picture.reason)}</span></p>\n'
    source = f"data:image/jpeg;base64,{b64encode(picture.jpeg).decode('ascii')}"
    # Not the photo's name once more, which stands below.
    image = (
        f'<img src="{source}" width="{picture.width}" height="{picture.height}" '
        'decoding="async" alt="Open the photo">'
    )
    return f'<a class="picture" href="{escape(_file_uri(photo.path))}">{image}</a>\n'


def _file_uri(path: str) -> str:
    return Path(filesystem_path(path)).absolute().as_uri()


def _choice(place: str, *, is_trash: bool) -> str:
    checked = " checked" if is_trash else ""
    return (
        '<div class="choice needs-script">\n'
        f'<label><input type="checkbox" aria-describedby="name-{place}"{checked}> Trash</label>\n'
        f'<button type="button" class="make-keeper" aria-describedby="name-{place}">'
        "Make this the keeper</button>\n</div>\n"
    )


def _facts(photo: DuplicatePhoto) -> Iterator[str]:
    """Yield what is known of a photo, always as many lines, so that cards can be compared."""
    is_sized = photo.width is not None and photo.height is not None
    yield f"{photo.width:,} × {photo.height:,} pixels" if is_sized else "size unknown"  # noqa: RUF001 - a times sign
    n_bytes = "" if photo.file_size is None else _shown_bytes(photo.file_size)
    yield f"{n_bytes} {photo.format or ''}".strip() or "file unknown"
    yield "no date" if photo.taken_at is None else f"taken {photo.taken_at:%Y-%m-%d %H:%M:%S}"
    yield "quality unknown" if photo.quality is None else f"quality {shown_share(photo.quality)}"


def _shown_bytes(n_bytes: int) -> str:
    """Return a size in the largest unit that leaves a number above 1, as page.js does."""
    size, unit = float(n_bytes), 0
    while size >= _UNIT_STEP and unit < len(_UNITS) - 1:
        size, unit = size / _UNIT_STEP, unit + 1
    return f"{size:.{min(unit, 1)}f} {_UNITS[unit]}"


def _shown(text: str) -> str:
    r"""Return text as HTML; control characters and bytes that are no UTF-8 as in \x0a."""
    return escape(text.encode("utf-8", "replace").decode("utf-8").translate(_ESCAPED))


def _asset(name: str) -> str:
    return files("service.review").joinpath(name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    """Return what a content security policy calls an inline style or script."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
