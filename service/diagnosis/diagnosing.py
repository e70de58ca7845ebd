"""Pictures of how the photos and texts of a collection lie in its spaces, with their numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_limits

from schemas.diagnosis import Diagnosis, DrawnPlot, PlotLeftOut
from schemas.errors import InputError
from service.collection import Collection
from service.diagnosis.material import (
    DiagnosisChoice,
    Material,
    Missing,
    PlotLeftOutError,
    gather_material,
)
from service.diagnosis.plots import require_matplotlib
from service.diagnosis.report import report_html
from service.diagnosis.sections import PLOTS, Section
from service.table_files import part_place, replaced_file

REPORT = "report.html"


def diagnose(collection: Collection, target: Path, choice: DiagnosisChoice) -> Diagnosis:
    """Write plots of a collection and a report of them into a folder.

    Files of an earlier diagnosis are replaced, each at once and the report last. A plot that the
    collection or the choice has not what it takes for is left out, and the report says why.

    Parameters
    ----------
    collection : Collection
    target : Path
        A folder; made if it is missing.
    choice : DiagnosisChoice

    Raises
    ------
    InputError
        If the folder cannot be written to, no photo matches, or a given file cannot be used.
    FilterError
        If `where` is no condition.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    _make_folder(target)
    material = gather_material(collection, choice)
    # On busy cores the threads of BLAS spin; and sums must not depend on how many there are.
    with threadpool_limits(limits=1, user_api="blas"):
        sections, left_out = _sections(material)
    diagnosis = _described(target, choice, material, sections, left_out)
    for name, section in sections.items():
        _write(_png_path(target, name), section.png)
    _write(target / REPORT, report_html(diagnosis, sections).encode("utf-8"))
    return diagnosis


def _sections(material: Material) -> tuple[dict[str, Section], list[PlotLeftOut]]:
    sections, left_out = {}, []
    for name, (title, make) in PLOTS.items():
        try:
            sections[name] = make(material)
        except PlotLeftOutError as error:
            left_out.append(PlotLeftOut(name=name, title=title, reason=str(error)))
    return sections, left_out


def _described(
    target: Path,
    choice: DiagnosisChoice,
    material: Material,
    sections: Mapping[str, Section],
    left_out: list[PlotLeftOut],
) -> Diagnosis:
    store = material.collection.store
    labelled, texts = material.labelled, material.texts
    return Diagnosis(
        report=str(target / REPORT),
        collection=store.uri,
        model=store.info.model.id,
        isophote_version=version("isophote"),
        made_at=datetime.now(UTC),
        given=_given(choice),
        n_images=material.n_matching,
        n_sampled=len(material.images),
        n_labelled=0 if isinstance(labelled, Missing) else len(labelled.labels),
        n_texts=0 if isinstance(texts, Missing) else len(texts.names),
        n_pairs=material.n_pairs,
        seed=material.seed,
        plots=[_drawn_plot(name, section, target) for name, section in sections.items()],
        left_out=left_out,
    )


def _given(choice: DiagnosisChoice) -> dict[str, str]:
    """Return the options that decide what is compared, by their names on the command line."""
    options = {
        "labels": choice.labels,
        "names": choice.names,
        "label-embeddings": choice.label_embeddings,
        "dictionary": choice.dictionary,
        "dictionary-embeddings": choice.dictionary_embeddings,
        "template": choice.template,
        "mos": choice.opinions,
        "axes": choice.axes.labels,
        "axes-components": choice.axes.n_axes,
        "axes-centred": choice.axes.is_centred or None,
        "where": choice.where,
    }
    return {name: str(value) for name, value in options.items() if value is not None}


def _make_folder(target: Path) -> None:
    """Make the folder, and find out before the work whether it can be written to."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the report")
    place = part_place(target / REPORT)
    try:
        target.mkdir(parents=True, exist_ok=True)
        place.touch()
        place.unlink()
    except OSError as error:
        raise _unwritable(target, error) from error


def _write(place: Path, content: bytes) -> None:
    with replaced_file(place) as file:
        file.write(content)


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write into {target}: {(error.strerror or str(error)).lower()}; name another folder"
    )


def _png_path(target: Path, name: str) -> Path:
    return target / f"{name}.png"


def _drawn_plot(name: str, section: Section, target: Path) -> DrawnPlot:
    return DrawnPlot(
        name=name,
        title=PLOTS[name][0],
        file=str(_png_path(target, name)),
        finding=section.finding,
        numbers=dict(section.numbers),
    )
