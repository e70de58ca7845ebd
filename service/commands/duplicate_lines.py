"""What `isophote duplicates` prints of groups and pairs."""

from pathlib import Path

import click

from schemas.duplicates import (
    DuplicateGroup,
    DuplicateList,
    DuplicatePair,
    LeakList,
    PairThreshold,
)
from service.duplicates.threshold_text import threshold_text
from service.lines import counted
from service.review.page import MAX_GROUPS
from service.terminal import shown_path


def show_written(count: int, singular: str, plural: str, target: Path) -> None:
    """Say how much was written where."""
    click.echo(f"Wrote {counted(count, singular, plural)} to {shown_path(str(target))}.")


def show_page(target: Path, *, n_groups: int) -> None:
    """Say on stderr where the review page is, and how much of the groups it shows."""
    part = f" It shows the {MAX_GROUPS:,} groups that free most." if n_groups > MAX_GROUPS else ""
    click.echo(f"Wrote {shown_path(str(target))}; open it in a browser.{part}", err=True)


def show_group(group: DuplicateGroup) -> None:
    """Print the keeper and why, then its copies: cosine, id, path and difference."""
    keeper = group.keeper
    click.echo(f"keep   {f'id:{keeper.image_id}':<9} {shown_path(keeper.path)}  ({group.reason})")
    for copy in group.copies:
        click.echo(
            f"{copy.similarity:6.3f} {f'id:{copy.photo.image_id}':<9} "
            f"{shown_path(copy.photo.path)}  ({copy.difference})"
        )
    click.echo()


def show_pair(pair: DuplicatePair) -> None:
    """Print a pair of two sets: cosine, both paths and the difference."""
    click.echo(
        f"{pair.similarity:6.3f}  {shown_path(pair.left.path)}  {shown_path(pair.right.path)}  "
        f"({pair.difference})"
    )


def show_summary(listed: DuplicateList, *, is_hinted: bool) -> None:
    """Say on stderr how much was found, by which threshold, and what can be done."""
    if not listed.groups:
        click.echo(
            f"No photo of {counted(listed.n_compared, 'photo')} has a double of tier "
            f"{listed.tier}.",
            err=True,
        )
    else:
        click.echo(
            f"{counted(len(listed.groups), 'group')} with "
            f"{counted(listed.n_copies, 'copy', 'copies')} ({listed.n_bytes / 1e6:,.1f} MB) among "
            f"{counted(listed.n_compared, 'photo')}.",
            err=True,
        )
    _show_certainty(listed.threshold, listed.recall, listed.n_unmeasured)
    if listed.groups and is_hinted:
        click.echo(
            "Nothing was touched. Look with --review page.html; --apply moves the copies to the "
            "trash."
            if listed.tier != "similar"
            else "Nothing was touched. Look with --review page.html.",
            err=True,
        )


def show_leak_summary(listed: LeakList) -> None:
    """Say on stderr how many photos of either set were found in the other, and how surely."""
    click.echo(
        f"{counted(len(listed.pairs), 'pair')} of tier {listed.tier} or stricter: "
        f"{listed.n_left_alike:,} of {counted(listed.n_left, 'photo')} of "
        f"{shown_path(listed.left)} and {listed.n_right_alike:,} of {listed.n_right:,} of "
        f"{shown_path(listed.right)}.",
        err=True,
    )
    _show_certainty(listed.threshold, listed.recall, listed.n_unmeasured)


def _show_certainty(threshold: PairThreshold | None, recall: float, n_unmeasured: int) -> None:
    if threshold is not None:
        click.echo(f"Threshold {threshold_text(threshold)}.", err=True)
    if recall < 1:
        click.echo(
            f"Not all pairs were compared: of those of a sample {recall:.1%} were found.", err=True
        )
    if n_unmeasured:
        click.echo(
            f"{counted(n_unmeasured, 'photo')} came in with an older release, which kept no "
            "thumbnails, and cannot be told from others of a scene: index them into a new "
            "collection, or give --tier similar.",
            err=True,
        )
