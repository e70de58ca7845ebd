"""`isophote duplicates`: photos that are alike, which to keep, and moving the others away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from schemas.tiers import Strictness, Tier
from service.commands.options import (
    collection_option,
    export_option,
    json_option,
    settings_from,
    where_option,
)
from service.commands.trash import exit_for, show_trashed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.duplicates import DuplicateGroup, DuplicateList, LeakList, ReviewedGroup
    from service.collection import Collection


@click.command()
@click.option(
    "--tier",
    type=click.Choice(get_args(Tier)),
    default="near",
    show_default=True,
    help="How much alike: the same files; the same decoded pixels; one made from the other by "
    "resizing, recompressing, mirroring, turning, light cropping or editing; or photos that look "
    "alike. Each holds those before it.",
)
@click.option(
    "--strictness",
    type=click.Choice(get_args(Strictness)),
    default="normal",
    show_default=True,
    help="Of the tiers near and similar: one photo in 10,000, in 1,000 or in 100 may be paired "
    "with an unrelated one, estimated on this collection.",
)
@click.option(
    "--similarity",
    type=click.FloatRange(0, 1, min_open=True),
    help="Instead: the least cosine of embeddings.",
)
@where_option
@click.option(
    "--across",
    "other",
    metavar="OTHER",
    help="List pairs of a photo of this collection and one of OTHER: an indexed folder of it, "
    "which is compared with all its other photos, or another collection.",
)
@click.option(
    "--prefer",
    metavar="FOLDER",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Keep photos in this folder rather than others; may be repeated, the first counts most.",
)
@click.option(
    "--review",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page (.html) that shows the groups side by side, to decide on each.",
)
@export_option
@click.option(
    "--print0",
    "-0",
    is_flag=True,
    help="Print the paths of copies only (with --across those of OTHER), each ended by NUL, as for "
    "xargs -0.",
)
@click.option(
    "--apply",
    "is_applied",
    is_flag=True,
    help="Move the copies to a trash folder; `isophote undo` brings them back.",
)
@click.option(
    "--reviewed",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With --apply: move what was decided on the page, as saved by it.",
)
@click.option(
    "--trash",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="With --apply: the trash folder.  [default: .isophote-trash in each indexed folder]",
)
@collection_option
@json_option
def duplicates(**given: Any) -> None:
    """Find photos that are alike, and propose which to keep.

    Each group starts with the photo to keep, and why; then come its copies, with their cosine and
    what sets them apart. Nothing is touched without --apply.

    \b
    isophote duplicates
    isophote duplicates --tier bytes --prefer ~/Pictures/Sorted
    isophote duplicates --review page.html
    isophote duplicates --apply --reviewed decisions.json
    isophote duplicates --across ./test.isophote --export leaks.csv
    """
    _refuse_mixed_outputs(given)
    _refuse_unheeded(given)
    from service.collection import open_collection

    collection = open_collection(settings_from(collection=given["collection"]))
    if given["is_applied"]:
        _apply(collection, given)
    elif given["other"] is not None:
        _hand_on_leaks(_leaks(collection, given), given)
    else:
        _hand_on(collection, _groups(collection, given), given)


def _refuse_mixed_outputs(given: dict[str, Any]) -> None:
    """Refuse answers that do not go together."""
    outputs = ("page", "target", "print0", "as_json")
    if sum(bool(given[name]) for name in outputs[1:]) > 1:
        raise click.UsageError("give one of --export, --print0 and --json")
    if given["page"] is not None and given["page"].suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"{given['page']} is to be a page; end its name with .html")
    if given["is_applied"] and any(given[name] for name in outputs[:3]):
        raise click.UsageError("--apply goes without --review, --export and --print0")


def _refuse_unheeded(given: dict[str, Any]) -> None:
    """Refuse options that would not be heeded, and moving what nobody looked at."""
    if given["similarity"] is not None and given["tier"] in ("bytes", "pixels"):
        raise click.UsageError(f"--similarity is not for --tier {given['tier']}")
    if not given["is_applied"] and (given["reviewed"] or given["trash"]):
        raise click.UsageError("--reviewed and --trash need --apply")
    if given["reviewed"] and any(given[name] for name in ("where", "prefer", "similarity")):
        raise click.UsageError("--reviewed goes without --where, --prefer and --similarity")
    if given["other"] is not None and (given["is_applied"] or given["page"] or given["prefer"]):
        raise click.UsageError("--across goes without --apply, --review and --prefer")
    if given["is_applied"] and given["tier"] == "similar" and given["reviewed"] is None:
        raise click.UsageError(
            "photos that are only similar are no copies of each other; decide on each with "
            "--review, then give --reviewed"
        )


def _groups(collection: Collection, given: dict[str, Any]) -> DuplicateList:
    from service.duplicates.finding import find_duplicates
    from service.duplicates.keepers import Preference
    from service.terminal import show_progress

    with show_progress() as report:
        return find_duplicates(
            collection,
            tier=given["tier"],
            asked=_asked(given),
            where=given["where"],
            preference=Preference.of(given["prefer"]),
            report=report,
        )


def _leaks(collection: Collection, given: dict[str, Any]) -> LeakList:
    from service.duplicates.leaks import find_leaks
    from service.terminal import show_progress

    with show_progress() as report:
        return find_leaks(
            collection,
            given["other"],
            tier=given["tier"],
            asked=_asked(given),
            where=given["where"],
            report=report,
        )


def _asked(given: dict[str, Any]) -> Any:
    from service.duplicates.material import Asked

    return Asked(given["strictness"], given["similarity"])


def _apply(collection: Collection, given: dict[str, Any]) -> None:
    """Move copies to the trash: those that were decided on, or all that are proposed."""
    from service.review.decisions import read_review
    from service.terminal import show_progress
    from service.trash.trashing import trash_copies

    if given["reviewed"] is not None:
        groups: Sequence[ReviewedGroup] = read_review(given["reviewed"], collection).groups
    else:
        groups = [_proposed(group) for group in _groups(collection, given).groups]
    with show_progress() as report:
        summary = trash_copies(collection, groups, trash=given["trash"], report=report)
    if given["as_json"]:
        click.echo(summary.model_dump_json())
    show_trashed(summary, with_counts=not given["as_json"])
    exit_for(summary)


def _proposed(group: DuplicateGroup) -> ReviewedGroup:
    from schemas.duplicates import ReviewedGroup

    copy_ids = [copy.photo.image_id for copy in group.copies]
    return ReviewedGroup(keeper_id=group.keeper.image_id, copy_ids=copy_ids)


def _hand_on(collection: Collection, listed: DuplicateList, given: dict[str, Any]) -> None:
    """Print or write groups in the way that was asked for."""
    from service.commands.duplicate_lines import show_group, show_page, show_summary, show_written
    from service.duplicate_lists import export_duplicates, nul_separated_copies
    from service.review.page import write_review_page

    if given["page"] is not None:
        write_review_page(collection, listed, given["page"])
        show_page(given["page"], n_groups=len(listed.groups))
    if given["as_json"]:
        click.echo(listed.model_dump_json())
    elif given["print0"]:
        sys.stdout.buffer.write(nul_separated_copies(listed))
    elif given["target"] is not None:
        export_duplicates(listed, given["target"])
        show_written(listed.n_copies, "copy", "copies", given["target"])
    elif given["page"] is None:
        for group in listed.groups:
            show_group(group)
    if not given["as_json"]:
        show_summary(listed, is_hinted=given["page"] is None and not given["print0"])


def _hand_on_leaks(listed: LeakList, given: dict[str, Any]) -> None:
    """Print or write pairs in the way that was asked for."""
    from service.commands.duplicate_lines import show_leak_summary, show_pair, show_written
    from service.duplicate_lists import export_leaks, nul_separated_leaks

    if given["as_json"]:
        click.echo(listed.model_dump_json())
        return
    if given["print0"]:
        sys.stdout.buffer.write(nul_separated_leaks(listed))
    elif given["target"] is not None:
        export_leaks(listed, given["target"])
        show_written(len(listed.pairs), "pair", "pairs", given["target"])
    else:
        for pair in listed.pairs:
            show_pair(pair)
    show_leak_summary(listed)
