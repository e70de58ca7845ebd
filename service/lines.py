"""Tables, shares and counts as text that fits a narrow terminal or a page."""

from collections.abc import Sequence


def aligned_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row, the first column to the left and the others to the right.

    Parameters
    ----------
    rows : sequence of sequence of str
        Of the same length.

    Examples
    --------
    >>> aligned_lines([["space", "mAP"], ["clip", ".612"], ["isoclip", ".605"]])
    ['space     mAP', 'clip     .612', 'isoclip  .605']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def shown_share(share: float) -> str:
    """Return a number in [0, 1] with three decimals, without the zero before the point.

    Examples
    --------
    >>> shown_share(0.0456), shown_share(1.0)
    ('.046', '1.000')
    """
    return f"{share:.3f}".removeprefix("0")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with the noun it counts.

    Examples
    --------
    >>> counted(1, "query", "queries"), counted(1200, "photo")
    ('1 query', '1,200 photos')
    """
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"
