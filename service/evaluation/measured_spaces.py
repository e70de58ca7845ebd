"""The spaces that a bench measures: those asked for, else all that the collection serves."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from indexer.gallery import centred
from indexer.spaces import SpaceMap, require_space, resolved_band, space_map
from schemas.errors import InputError, MissingExtraError, ModelError
from schemas.evaluation import UnusableSpace
from schemas.model import Band, Space
from service.axes import AxesChoice
from service.collection import Collection
from service.evaluation.sweep import Sweep, SweptKind, SweptValue, shown_value

SWEPT_SETTINGS: dict[str, SweptKind] = {"band": "band", "axes": "count"}
"""band: of the space isoclip. axes: how many the space semantic has."""

_DEFAULT_AXES = AxesChoice()


@dataclass(frozen=True, slots=True)
class MeasuredSpace:
    """A space with its map, centred if need be; `setting` is the swept value, if there is one."""

    space: Space
    setting: str | None
    space_map: SpaceMap


@dataclass(frozen=True, slots=True)
class SpaceChoice:
    """The spaces to measure.

    Without `spaces` and `sweep` they are all that the collection serves. `axes` are those of the
    space `semantic`. A sweep adds its own space once per value.
    """

    spaces: tuple[Space, ...] = ()
    axes: AxesChoice = _DEFAULT_AXES
    sweep: Sweep | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    space: Space
    setting: str | None
    make: Callable[[], SpaceMap]
    is_required: bool


def measured_spaces(
    collection: Collection, choice: SpaceChoice, *, only: Sequence[Space] | None = None
) -> Iterator[MeasuredSpace | UnusableSpace]:
    """Yield the chosen spaces one by one, and why one cannot be used.

    Parameters
    ----------
    collection : Collection
    choice : SpaceChoice
    only : sequence of Space, optional
        Those that the bench can measure at all.

    Raises
    ------
    InputError, ModelError, MissingExtraError
        If a space that was asked for by name cannot be used.
    """
    for candidate in _candidates(collection, choice, only):
        try:
            placed = centred(candidate.make(), collection.store)
        except (InputError, ModelError, MissingExtraError) as error:
            if candidate.is_required:
                raise
            yield UnusableSpace(space=candidate.space, setting=candidate.setting, reason=str(error))
        else:
            yield MeasuredSpace(candidate.space, candidate.setting, placed)


def _candidates(
    collection: Collection, choice: SpaceChoice, only: Sequence[Space] | None
) -> list[_Candidate]:
    strange = [space for space in choice.spaces if only is not None and space not in only]
    if strange:
        raise InputError(
            f"texts have no place in the space {strange[0]!r}; use {' or '.join(only or ())}"
        )
    spaces = choice.spaces
    if not spaces and choice.sweep is None:
        served: tuple[Space, ...] = (*collection.store.info.model.spaces, "semantic")
        spaces = tuple(space for space in served if only is None or space in only)
    asked = [
        _Candidate(
            space,
            None,
            partial(collection.space_map, space, choice.axes),
            # Whoever gives axes wants to see them used.
            bool(choice.spaces) or (space == "semantic" and choice.axes != _DEFAULT_AXES),
        )
        for space in dict.fromkeys(spaces)
    ]
    return [*asked, *_swept(collection, choice)]


def _swept(collection: Collection, choice: SpaceChoice) -> list[_Candidate]:
    if choice.sweep is None:
        return []
    name = choice.sweep.name
    make, space = _SWEPT_MAPS[name]
    return [
        _Candidate(
            space,
            f"{name}={shown_value(value)}",
            partial(make, collection, choice.axes, value),
            # One band too wide, or one axis too many, is no reason to lose the other rows.
            is_required=False,
        )
        for value in choice.sweep.values
    ]


def _with_band(collection: Collection, _: AxesChoice, value: SweptValue) -> SpaceMap:
    info, projectors = collection.store.info, collection.store.projectors
    require_space(info.model, "isoclip")
    ((k_top, k_bottom),) = Sweep("band", (value,)).bands
    band, _is_default = resolved_band(
        info.model, projectors, asked=Band(k_top=k_top, k_bottom=k_bottom)
    )
    return space_map("isoclip", model=info.model, projectors=projectors, band=band)


def _with_axes(collection: Collection, axes: AxesChoice, value: SweptValue) -> SpaceMap:
    (n_axes,) = Sweep("axes", (value,)).counts
    return collection.space_map("semantic", replace(axes, n_axes=n_axes))


_SWEPT_MAPS: dict[str, tuple[Callable[[Collection, AxesChoice, SweptValue], SpaceMap], Space]] = {
    "band": (_with_band, "isoclip"),
    "axes": (_with_axes, "semantic"),
}
