"""Values to measure again and again with: what follows `--sweep`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from schemas.errors import InputError

SweptKind = Literal["number", "count", "band"]
"""number: any finite one. count: a whole number from 1. band: two whole numbers from 0."""

SweptValue = float | int | tuple[int, int]

# Each value is a row of the table, and costs one run of the bench.
MAX_VALUES = 1000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE)
_COUNT = re.compile(r"\d{1,9}")
_BAND = re.compile(r"(\d{1,9})/(\d{1,9})")
_WANTED: dict[SweptKind, str] = {
    "number": "a number, as in 0.5",
    "count": "a whole number from 1, as in 10",
    "band": "TOP/BOTTOM, as in 150/50",
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """The values that one setting takes in turn, in the order they were asked for.

    `values` are float for a setting of kind "number", int for "count", (int, int) for "band".
    """

    name: str
    values: tuple[SweptValue, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values of a setting that is a number or a count.

        Raises
        ------
        ValueError
            If they are bands.
        """
        numbers = tuple(float(value) for value in self.values if not isinstance(value, tuple))
        if len(numbers) < len(self.values):
            raise ValueError(f"the values of {self.name} are bands, not numbers")
        return numbers

    @property
    def counts(self) -> tuple[int, ...]:
        """The values of a setting that is a count.

        Raises
        ------
        ValueError
            If any is not a whole number.
        """
        counts = tuple(value for value in self.values if isinstance(value, int))
        if len(counts) < len(self.values):
            raise ValueError(f"the values of {self.name} are not all whole numbers")
        return counts

    @property
    def bands(self) -> tuple[tuple[int, int], ...]:
        """The values of a setting that is a band: how many are removed at either end.

        Raises
        ------
        ValueError
            If any is not a band.
        """
        bands = tuple(value for value in self.values if isinstance(value, tuple))
        if len(bands) < len(self.values):
            raise ValueError(f"the values of {self.name} are not bands")
        return bands


def shown_value(value: SweptValue) -> str:
    """Return a value as a user would write it: 0.25, 10, 150/50.

    Examples
    --------
    >>> shown_value((150, 50)), shown_value(0.25), shown_value(10)
    ('150/50', '0.25', '10')
    """
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def parse_sweep(text: str, *, allowed: Mapping[str, SweptKind]) -> Sweep:
    """Return the sweep that `NAME=VALUES` asks for.

    VALUES are a list, `1,5,10`, or a range `START:STOP:STEP` with both ends in it where the step
    meets them. Ranges are counted in decimal, so that 0:1:0.1 ends at 1 and holds 0.3 exactly as
    `0.3` is read. A value that comes twice is measured once.

    Parameters
    ----------
    text : str
    allowed : mapping of str to {"number", "count", "band"}
        The settings that this bench can sweep, and what their values are. In any case, unless two
        differ in nothing else.

    Raises
    ------
    InputError
        If the setting is not one of these, or a value is none of its kind.

    Examples
    --------
    >>> parse_sweep("lambda=0:1:0.25", allowed={"lambda": "number"}).values
    (0.0, 0.25, 0.5, 0.75, 1.0)
    >>> parse_sweep("band=50/50,150/50", allowed={"band": "band"}).values
    ((50, 50), (150, 50))
    """
    given, equals, values = (part.strip() for part in text.partition("="))
    name = _known_name(given, allowed)
    if not equals or not values:
        raise InputError(
            f"--sweep {text!r} has no values; write {name}=START:STOP:STEP or {name}=VALUE,VALUE"
        )
    kind = allowed[name]
    parts = _range(name, values) if ":" in values else values.split(",")
    parsed = [_value(name, kind, part.strip()) for part in parts]
    _check_count(name, len(parsed))
    return Sweep(name, tuple(dict.fromkeys(parsed)))


def _known_name(given: str, allowed: Mapping[str, SweptKind]) -> str:
    if given in allowed:
        return given
    alike = [name for name in allowed if name.lower() == given.lower()]
    if len(alike) == 1:
        return alike[0]
    raise InputError(f"cannot sweep {given!r} here; choose one of {', '.join(allowed)}")


def _range(name: str, values: str) -> Sequence[str]:
    ends = [part.strip() for part in values.split(":")]
    if len(ends) != len(("start", "stop", "step")) or not all(map(_NUMBER.fullmatch, ends)):
        raise InputError(
            f"{values!r} is no range for {name}; write START:STOP:STEP, as in 0:1:0.25"
        )
    start, stop, step = map(Decimal, ends)
    if step <= 0 or stop < start:
        raise InputError(
            f"the range {values!r} of {name} leads nowhere; "
            "its step must be above 0, and its stop not below its start"
        )
    # Counted before it is made: 0:1e300:1 must not fill the memory.
    n_values = (stop - start) / step + 1
    _check_count(name, n_values)
    return [f"{start + number * step:f}" for number in range(int(n_values))]


def _check_count(name: str, n_values: int | Decimal) -> None:
    if n_values > MAX_VALUES:
        raise InputError(
            f"{name} would take more than {MAX_VALUES} values; ask for fewer, or a larger step"
        )


def _value(name: str, kind: SweptKind, text: str) -> SweptValue:
    band = _BAND.fullmatch(text)
    if kind == "band" and band:
        return int(band[1]), int(band[2])
    # A range of counts may be written 1:10:1, and gives "1", "2"; 1:2:0.5 gives "1.5".
    whole = text.removesuffix(".0")
    if kind == "count" and _COUNT.fullmatch(whole) and int(whole):
        return int(whole)
    if kind == "number" and _NUMBER.fullmatch(text) and abs(float(text)) != float("inf"):
        return float(text)
    raise InputError(f"{text!r} is no value of {name}; it takes {_WANTED[kind]}")
