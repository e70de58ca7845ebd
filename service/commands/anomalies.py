"""`isophote anomalies`: learn what is normal, score photos by it, rank the least normal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    collection_option,
    device_option,
    dictionary_embeddings_option,
    dictionary_option,
    json_option,
    label_embeddings_option,
    labels_option,
    settings_from,
    threads_option,
    where_option,
)
from service.lines import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.anomalies import (
        AnomalyList,
        AnomalyReference,
        NormalClass,
        ReferenceSettings,
    )

# More would fill the terminal; --json has all of them.
SHOWN_CLASSES = 10

# The paper's smallest number of examples; the spread of fewer is hardly known.
FEW_EXAMPLES = 10

_OF_METHOD = {
    "bliss": ("external_weight", "neighbours", "dictionary", "dictionary_embeddings"),
    "knn": ("nearest", "sample", "seed"),
}


@click.group()
def anomalies() -> None:
    """Find photos that do not belong.

    Learn what is normal with `fit`, give every photo a score with `score`, and look at the least
    normal ones with `list`.

    \b
    isophote anomalies fit usual --examples folders
    isophote anomalies score usual
    isophote anomalies list --where "path like '%2023%'" --top-k 20
    """


@anomalies.command()
@click.argument("name")
@labels_option("--examples", of="Normal photos by class", required=False)
@click.option(
    "--labels",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of the normal classes, one a line; photos are assigned to them by the model.",
)
@click.option(
    "--confident",
    type=click.FloatRange(0, 1, min_open=True),
    help="With --labels: share of a class's photos, the surest first, taken for normal (10 photos "
    "at least).  [default: 0.5]",
)
@click.option(
    "--cover",
    type=click.FloatRange(0, 1, min_open=True),
    help="With neither: share of the photos that the most frequent names shall cover.  "
    "[default: 0.95]",
)
@click.option(
    "--least",
    type=click.FloatRange(0, 1),
    help="With neither: smallest share of the photos that a name may hold; rarer ones give theirs "
    "to others.  [default: 0.1]",
)
@click.option(
    "--method",
    type=click.Choice(["bliss", "knn"]),
    default="bliss",
    show_default=True,
    help="bliss compares with texts and says why; knn measures the distance to normal photos.",
)
@click.option(
    "--external-weight",
    type=click.FloatRange(min=0, max=1e6),
    help="bliss: weight of the dictionary, the paper's lambda.  [default: 0.75]",
)
@click.option(
    "--neighbours",
    type=click.IntRange(min=1),
    help="bliss: dictionary texts compared per photo, the paper's K.  [default: 10]",
)
@click.option(
    "--nearest",
    type=click.IntRange(min=1),
    help="knn: distance to the N-th nearest normal photo.  [default: 5]",
)
@click.option(
    "--sample",
    type=click.IntRange(min=2, max=100_000),
    help="knn: normal photos that are kept, drawn at random from more.  [default: 10000]",
)
@click.option("--seed", type=click.IntRange(min=0), help="knn: of that draw.  [default: 0]")
@click.option(
    "--template",
    metavar="TEXT",
    default="This is a photo of a {}",
    show_default=True,
    help="Sentence around a name, {} in its place.",
)
@label_embeddings_option
@dictionary_option
@dictionary_embeddings_option
@where_option
@collection_option
@threads_option
@device_option
@json_option
def fit(name: str, method: Any, as_json: bool, **options: Any) -> None:
    """Learn what is normal and keep it as the reference NAME.

    Best from --examples: ten normal photos of each class will do. From --labels, photos go to
    the names by the model; with neither, to the names of ImageNet that cover most of the
    collection. These two ways are Isophote's own, not the paper's. Names you know yourself are as
    good as examples; names found by the model are no better than --method knn, which without
    examples and labels takes all photos for normal.

    \b
    isophote anomalies fit usual --examples ~/normal
    isophote anomalies fit usual --labels classes.txt
    isophote anomalies fit usual
    isophote anomalies fit usual --method knn --nearest 5
    """
    from service.anomaly_references import fit_reference
    from service.collection import open_collection

    _refuse_misplaced(method, options)
    place = {key: options.pop(key) for key in ("collection", "threads", "device")}
    normal = _chosen_normal(options)
    scoring = _chosen_scoring(method, options)
    fitted = fit_reference(
        open_collection(settings_from(**place)), name, normal=normal, scoring=scoring
    )
    if as_json:
        click.echo(fitted.model_dump_json())
    else:
        _show_fitted(fitted)
    _show_doubts(fitted)
    click.echo(f"Next: {_score_command(fitted.name)}", err=True)


@anomalies.command()
@click.argument("name", required=False)
@collection_option
@json_option
def score(name: str | None, collection: str | None, as_json: bool) -> None:
    """Score all photos by the reference NAME.

    New photos are then scored by it when they are indexed. Without a NAME it is the active
    reference, or the only one. The columns anomaly (higher = less normal), anomaly_reference,
    anomaly_class, anomaly_internal, anomaly_external and anomaly_words are written, and --where
    knows them.

    \b
    isophote anomalies score usual
    isophote search "a dog" --where "anomaly > 2"
    """
    from service.anomalies import score_photos
    from service.collection import open_collection
    from service.terminal import show_progress, shown_path

    opened = open_collection(settings_from(collection=collection))
    try:
        with show_progress() as report:
            scored = score_photos(opened, name, report=report)
    except KeyboardInterrupt:
        click.echo("What was scored is kept; run the same command to finish.", err=True)
        raise
    if as_json:
        click.echo(scored.model_dump_json())
        return
    click.echo(
        f"Scored {counted(scored.n_scored, 'photo')} by {shown_path(repr(scored.reference))} in "
        f"{scored.seconds:.1f} s; new photos are scored by it when they are indexed."
    )


@anomalies.command(name="list")
@click.option(
    "--top-k", "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Photos."
)
@where_option
@click.option("--reference", metavar="NAME", help="Whose scores to rank.  [default: the active]")
@collection_option
@json_option
def list_(
    top_k: int, where: str | None, reference: str | None, collection: str | None, as_json: bool
) -> None:
    """List the least normal photos, and why they are.

    Each line has the score (higher = less normal), the id, the path, and the reason. The score
    is the internal part plus the weighted external part, both in standard deviations of the
    normal photos; with --method knn it is a distance.

    \b
    isophote anomalies list
    isophote anomalies list --where "taken_at > timestamp '2023-01-01'" --top-k 50
    """
    from service.anomalies import rank_anomalies
    from service.collection import open_collection

    opened = open_collection(settings_from(collection=collection))
    ranked = rank_anomalies(opened, reference, top_k=top_k, where=where)
    if as_json:
        click.echo(ranked.model_dump_json())
    else:
        _show_ranked(ranked)


@anomalies.command()
@collection_option
@json_option
def references(collection: str | None, as_json: bool) -> None:
    """List what was learned, and from what.

    \b
    isophote anomalies references
    """
    from service.anomaly_references import list_references
    from service.collection import open_collection

    found = list_references(open_collection(settings_from(collection=collection)))
    if as_json:
        click.echo(found.model_dump_json())
        return
    if not found.references:
        click.echo("There is no reference yet; `isophote anomalies fit NAME` makes one.", err=True)
    for reference in found.references:
        click.echo(_reference_line(reference))


@anomalies.command()
@click.argument("name")
@collection_option
@json_option
def remove(name: str, collection: str | None, as_json: bool) -> None:
    """Remove the reference NAME, and the scores that it gave.

    \b
    isophote anomalies remove usual
    """
    from service.anomaly_references import remove_reference
    from service.collection import open_collection
    from service.terminal import shown_path

    removed = remove_reference(open_collection(settings_from(collection=collection)), name)
    if as_json:
        click.echo(removed.model_dump_json())
        return
    cleared = f" and the scores of {counted(removed.n_cleared, 'photo')}"
    click.echo(f"Removed {shown_path(repr(name))}{cleared if removed.n_cleared else ''}.")
    if removed.was_active:
        click.echo("It was the active one: new photos are not scored any more.", err=True)


def _refuse_misplaced(method: str, options: Mapping[str, Any]) -> None:
    """Refuse options that would have no effect."""
    for other, names in _OF_METHOD.items():
        given = [name for name in names if options[name] is not None and other != method]
        if given:
            raise click.UsageError(f"{_flag(given[0])} needs --method {other}")
    if options["examples"] is not None and options["labels"] is not None:
        raise click.UsageError("give --examples or --labels, not both")
    if options["confident"] is not None and options["labels"] is None:
        raise click.UsageError("--confident needs --labels")
    has_source = options["examples"] is not None or options["labels"] is not None
    for name in ("cover", "least"):
        if options[name] is not None and (has_source or method == "knn"):
            raise click.UsageError(
                f"{_flag(name)} is for --method bliss with neither --examples nor --labels"
            )


def _chosen_normal(options: Mapping[str, Any]) -> Any:
    from service.normal_photos import NormalChoice

    names = ("examples", "labels", "label_embeddings", "template", "confident", "cover")
    return NormalChoice(**_given(options, (*names, "least", "where")))


def _chosen_scoring(method: str, options: Mapping[str, Any]) -> Any:
    from service.anomaly_references import NeighbourChoice, TextChoice

    kind = TextChoice if method == "bliss" else NeighbourChoice
    return kind(**_given(options, _OF_METHOD[method]))


def _given(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _show_fitted(fitted: AnomalyReference) -> None:
    from service.terminal import shown_path

    name, settings = shown_path(repr(fitted.name)), fitted.settings
    click.echo(f"Learned {name} from {_normal_in_words(settings)}.")
    if settings.classes:
        click.echo(f"Classes: {_classes_in_words(settings.classes)}.")


def _show_doubts(fitted: AnomalyReference) -> None:
    """Say on stderr what weakens a reference, and what it replaced."""
    settings = fitted.settings
    if fitted.n_cleared:
        click.echo(
            f"It replaces the reference of this name, whose scores of "
            f"{counted(fitted.n_cleared, 'photo')} were cleared.",
            err=True,
        )
    if settings.skipped:
        click.echo(
            f"Left out for want of two photos that differ: {_classes_in_words(settings.skipped)}.",
            err=True,
        )
    few = [normal for normal in settings.classes if normal.n_examples < FEW_EXAMPLES]
    if few and settings.scoring.method == "bliss":
        click.echo(
            f"Fewer than {FEW_EXAMPLES} examples make rough scores: {_classes_in_words(few)}.",
            err=True,
        )


def _show_ranked(ranked: AnomalyList) -> None:
    from service.terminal import shown_path

    if not ranked.photos:
        click.echo("No photo matches.", err=True)
    for photo in ranked.photos:
        click.echo(
            f"{photo.anomaly:8.3f}  {f'id:{photo.image_id}':<7} {shown_path(photo.path)}: "
            f"{shown_path(photo.reason)}"
        )
    if ranked.n_unscored:
        click.echo(
            f"{counted(ranked.n_unscored, 'photo')} without a score from it; run "
            f"`{_score_command(ranked.reference)}`",
            err=True,
        )


def _reference_line(reference: AnomalyReference) -> str:
    from service.terminal import shown_path

    state = "active, " if reference.is_active else ""
    return (
        f"{shown_path(reference.name)}: {state}{counted(reference.n_scored, 'photo')} scored, "
        f"{_scoring_in_words(reference.settings)}, from {_normal_in_words(reference.settings)}, "
        f"made on {reference.created_at:%Y-%m-%d %H:%M} UTC"
    )


def _scoring_in_words(settings: ReferenceSettings) -> str:
    scoring = settings.scoring
    if scoring.method == "knn":
        return f"knn (nearest {scoring.nearest})"
    return (
        f"bliss (lambda {scoring.external_weight:g}, K {scoring.neighbours}, "
        f"{scoring.dictionary.n_texts:,} texts)"
    )


def _normal_in_words(settings: ReferenceSettings) -> str:
    from service.terminal import shown_path

    photos = counted(settings.n_normal, "normal photo")
    if settings.origin == "all":
        return f"{photos}, taken from all"
    told = f"{photos} of {counted(len(settings.classes), 'class', 'classes')}"
    if settings.origin == "labels":
        return f"{told} found by their names"
    if settings.origin == "cover":
        return f"{told} found by the most frequent names"
    if settings.examples == "folders":
        return f"{told} named by their folders"
    return f"{told} in {shown_path(str(settings.examples))}"


def _classes_in_words(classes: Sequence[NormalClass]) -> str:
    from service.terminal import shown_path

    by_size = sorted(classes, key=lambda normal: -normal.n_examples)
    told = [f"{shown_path(normal.name)} ({normal.n_examples:,})" for normal in by_size]
    more = len(told) - SHOWN_CLASSES
    return ", ".join(told[:SHOWN_CLASSES]) + (f" and {more:,} more" if more > 0 else "")


def _score_command(name: str) -> str:
    import shlex

    return f"isophote anomalies score {shlex.quote(name)}"
