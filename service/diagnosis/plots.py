"""Pictures of similarities, as PNG files in memory. The only module that knows matplotlib."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indexer.arrays import DoubleArray, FloatArray
from indexer.scoring.diagnostics import (
    LabelSimilarities,
    PrincipalPlane,
    SimilarityHistograms,
)
from schemas.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# 1,440 pixels, shown 720 wide: sharp on a screen of double density, and in print.
WIDTH_INCHES = 7.2
DOTS_PER_INCH = 200

PANEL_HEIGHT_INCHES = 2.4
PANELS_PER_ROW = 2

MAP_HEIGHT_INCHES = (3.5, 6.5)

# Okabe & Ito, "Color Universal Design", 2008: told apart with any colour vision. Lines and marks
# differ as well, for those who print in grey.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
SERIES: tuple[tuple[str, Literal["-", "--", ":"]], ...] = (
    (BLUE, "-"),
    (VERMILLION, "--"),
    (GREEN, ":"),
)
MARKS = "o^s"

LABEL_LETTERS = 22

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, slots=True)
class HistogramPanel:
    """Histograms of several samples, drawn over each other."""

    title: str
    histograms: SimilarityHistograms


@dataclass(frozen=True, slots=True)
class OpinionPanel:
    """A quality cue float (n,) to be drawn against opinion scores."""

    title: str
    cue: FloatArray | DoubleArray


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises
    ------
    MissingExtraError
    """
    try:
        import matplotlib  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plots", purpose="to draw plots") from error


def histograms_png(panels: Sequence[HistogramPanel], *, series: Sequence[str]) -> bytes:
    """Draw histograms of cosine similarities, one panel beside the other.

    Parameters
    ----------
    panels : sequence of HistogramPanel
    series : sequence of str
        What the samples are, in the order of their shares; at most three.
    """
    with _figure(n_panels=len(panels)) as (figure, axes):
        for panel, axis in zip(panels, axes, strict=True):
            _draw_histograms(axis, panel.histograms, series=series)
            axis.set_title(panel.title, loc="left")
            axis.set_xlabel("cosine similarity")
        for axis in axes[::PANELS_PER_ROW]:
            axis.set_ylabel("share of pairs per bin (%)")
        _legend_above(figure, axes[0])
        return _png(figure)


def gap_png(
    image_positions: DoubleArray, text_positions: DoubleArray, histograms: SimilarityHistograms
) -> bytes:
    """Draw photos and texts along the line through their means, and the gap between those.

    Parameters
    ----------
    image_positions, text_positions : float64 of shapes (n,) and (m,)
    histograms : SimilarityHistograms
        Of both.
    """
    means = float(image_positions.mean()), float(text_positions.mean())
    with _figure(n_panels=1) as (figure, (axis,)):
        _draw_histograms(axis, histograms, series=("photos", "texts"))
        top = 100 * float(histograms.shares.max())
        for mean, (colour, _) in zip(means, SERIES, strict=False):
            axis.axvline(mean, ymax=0.93, color=colour, linewidth=1)
        axis.annotate(
            "", (means[1], 1.14 * top), (means[0], 1.14 * top), arrowprops={"arrowstyle": "<->"}
        )
        axis.text(0, 1.18 * top, f"gap {means[0] - means[1]:.2f}", ha="center", va="bottom")
        axis.set_ylim(0, 1.4 * top)
        axis.set_xlabel("position along the line through both means (unit vectors have length 1)")
        axis.set_ylabel("share per bin (%)")
        _legend_above(figure, axis)
        return _png(figure)


def spectrum_png(singular_values: DoubleArray, *, k_top: int, k_bottom: int) -> bytes:
    """Draw a descending spectrum, with the band that is kept between both ends."""
    from matplotlib.ticker import LogLocator

    rank = len(singular_values)
    numbers = np.arange(1, rank + 1)
    with _figure(n_panels=1) as (figure, (axis,)):
        axis.axvspan(
            k_top + 0.5,
            rank - k_bottom + 0.5,
            color=GREEN,
            alpha=0.18,
            label=f"kept band: {k_top + 1:,} to {rank - k_bottom:,}",
        )
        axis.plot(numbers, singular_values, color=BLUE, linewidth=1.8, label="singular values")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.set_xlim(0.5, rank + 0.5)
        axis.set_xlabel("singular direction, the strongest first")
        axis.set_ylabel("singular value (log scale)")
        _legend_above(figure, axis)
        return _png(figure)


def map_png(plane: PrincipalPlane, *, labels: DoubleArray) -> bytes:
    """Draw images and texts on the plane of their first two principal components.

    Parameters
    ----------
    plane : PrincipalPlane
    labels : float64 of shape (C, 2)
        Where the texts of labels lie; none for none.
    """
    width, height = np.ptp(np.concatenate([plane.images, plane.texts]), axis=0)
    inches = float(np.clip(WIDTH_INCHES * height / max(width, 1e-9), *MAP_HEIGHT_INCHES))
    with _figure(n_panels=1, height=inches) as (figure, (axis,)):
        for points, (colour, _), mark, name in zip(
            (plane.images, plane.texts), SERIES, MARKS, ("photos", "texts"), strict=False
        ):
            x, y = points.T
            axis.scatter(x, y, s=10, color=colour, marker=mark, linewidths=0, alpha=0.5, label=name)
        if len(labels):
            x, y = labels.T
            axis.scatter(x, y, s=20, marker="D", color="none", edgecolors="black", label="labels")
        means = np.stack([plane.images.mean(axis=0), plane.texts.mean(axis=0)])
        x, y = means.T
        axis.scatter(x, y, s=90, marker="X", color="black", edgecolors="white", label="means")
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_xlabel(f"first principal component ({plane.shares[0]:.0%} of the variance)")
        axis.set_ylabel(f"second principal component ({plane.shares[1]:.0%})")
        for handle in _legend_above(figure, axis).legend_handles:
            if handle is not None:
                handle.set_alpha(1)
        return _png(figure)


def label_bias_png(
    histograms: SimilarityHistograms,
    *,
    series: Sequence[str],
    means: LabelSimilarities | None,
    names: Sequence[str],
) -> bytes:
    """Draw how similar labels are to words and to photos, all together and label by label.

    Parameters
    ----------
    histograms : SimilarityHistograms
        Of the similarities of labels to photos of theirs, to words, and to other photos.
    series : sequence of str
        What the samples are called.
    means : LabelSimilarities, optional
        Of the labels that are shown on their own.
    names : sequence of str
        Of these labels.
    """
    height = max(PANEL_HEIGHT_INCHES, 0.6 + 0.19 * len(names)) + 0.3
    with _figure(n_panels=1 if means is None else 2, height=height) as (figure, axes):
        _draw_histograms(axes[0], histograms, series=series)
        axes[0].set_title("all labels", loc="left")
        axes[0].set_xlabel("cosine similarity to a label")
        axes[0].set_ylabel("share of pairs per bin (%)")
        if means is not None:
            _draw_labels(axes[1], means, names=names)
        _legend_above(figure, axes[0], marks="" if means is None else MARKS)
        return _png(figure)


def opinions_png(opinions: DoubleArray, panels: Sequence[OpinionPanel]) -> bytes:
    """Draw quality cues against mean opinion scores."""
    with _figure(n_panels=len(panels), per_row=len(panels), height=2.9) as (figure, axes):
        for panel, axis in zip(panels, axes, strict=True):
            axis.scatter(panel.cue, opinions, s=10, alpha=0.5, linewidths=0, color=BLUE)
            axis.set_title(panel.title, loc="left")
            axis.set_xlabel(panel.title.split(":")[0])
        axes[0].set_ylabel("mean opinion score")
        return _png(figure)


def histograms_alt(panel: HistogramPanel, *, series: Sequence[str]) -> str:
    """Describe a panel for those who do not see it."""
    edges, shares = panel.histograms.edges, panel.histograms.shares
    peaks = [float(edges[row.argmax()] + edges[row.argmax() + 1]) / 2 for row in shares]
    told = [f"{name} at {peak:.2f}" for name, peak in zip(series, peaks, strict=True)]
    return f"{panel.title}; highest for {', '.join(told)}"


@contextmanager
def _figure(
    *, n_panels: int, per_row: int = PANELS_PER_ROW, height: float | None = None
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """Make a figure whose look does not depend on the user's own settings of matplotlib."""
    import matplotlib.style
    from matplotlib.figure import Figure

    n_columns = min(n_panels, per_row)
    n_rows = -(-n_panels // n_columns)
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(
            figsize=(WIDTH_INCHES, height or PANEL_HEIGHT_INCHES * n_rows + 0.4), dpi=DOTS_PER_INCH
        )
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
        for axis in grid[n_panels:]:
            axis.set_visible(False)
        yield figure, grid[:n_panels]


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label may be written in letters that matplotlib's font lacks: a box is drawn.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_histograms(
    axis: "Axes", histograms: SimilarityHistograms, *, series: Sequence[str]
) -> None:
    for name, shares, (colour, line) in zip(series, histograms.shares, SERIES, strict=False):
        axis.stairs(100 * shares, histograms.edges, fill=True, color=colour, alpha=0.18)
        axis.stairs(
            100 * shares,
            histograms.edges,
            color=colour,
            linestyle=line,
            linewidth=1.6,
            label=name,
        )


def _draw_labels(axis: "Axes", means: LabelSimilarities, *, names: Sequence[str]) -> None:
    rows = np.arange(len(names))[::-1]
    axis.hlines(rows, means.dictionary, means.own_images, color=GREY, linewidth=0.8, alpha=0.6)
    # In the order of the histograms; what is drawn last lies on top.
    values_of = (means.own_images, means.dictionary, means.other_images)
    for values, (colour, _), mark in zip(values_of, SERIES, MARKS, strict=True):
        axis.plot(values, rows, mark, color=colour, markersize=4.5, linestyle="none")
    axis.set_yticks(rows, [_shortened(name) for name in names], fontsize=8)
    axis.set_ylim(-0.7, len(names) - 0.3)
    axis.set_title("means of single labels", loc="left")
    axis.set_xlabel("mean cosine similarity")


def _legend_above(figure: "Figure", axis: "Axes", *, marks: str = "") -> "Legend":
    """Put the legend of one panel above all, where it hides nothing.

    `marks` are added to its lines, for panels beside it.
    """
    from matplotlib.lines import Line2D

    handles, names = axis.get_legend_handles_labels()
    if marks:
        handles = [
            Line2D([], [], color=colour, linestyle=line, marker=mark, markersize=4.5)
            for (colour, line), mark, _ in zip(SERIES, marks, names, strict=False)
        ]
    return figure.legend(handles, names, loc="outside upper right", ncols=len(names))


def _shortened(name: str) -> str:
    """Return a name that fits beside a plot, with what would be taken for formulas escaped."""
    shown = " ".join(name.split())
    if len(shown) > LABEL_LETTERS:
        # The ends of paths and numbered names tell them apart.
        shown = f"{shown[: LABEL_LETTERS // 2]}…{shown[1 - LABEL_LETTERS // 2 :]}"
    return shown.replace("$", r"\$")
