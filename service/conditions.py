r"""Filters from strangers: one condition over the columns of a table gets through, nothing else.

LanceDB parses a filter as the end of a whole statement. It drops comments and what stands behind a
semicolon, calls any function of DataFusion, panics at `B'1'`, and 1,800 characters of `1+1+1+...`
end the process with a segmentation fault (LanceDB 0.40). So what comes from outside is read here
first, by a grammar that is no larger than what filters need::

    condition = predicate {("and" | "or") predicate}
    predicate = "not" predicate | sum [test]
    test      = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") sum
              | "is" ["not"] ("null" | "true" | "false")
              | ["not"] "in" "(" sum {"," sum} ")"
              | ["not"] "between" sum "and" sum
              | ["not"] ("like" | "ilike") text
    sum       = signed {("+" | "-" | "*" | "/" | "%") signed}
    signed    = "-" signed | value
    value     = number | text | "true" | "false" | "null" | ("date" | "timestamp") text | column
              | "(" condition ")" | function "(" [condition {"," condition}] ")"
              | "cast" "(" condition "as" type ")"

and written anew from what was recognised, token by token. Their order stays, so the store builds
the tree it builds of the original, whatever binds tighter. A parser of all of SQL cannot promise
that: to sqlglot 30 `a = b is null` is `a = (b is null)`, to LanceDB `(a = b) is null`. Regular
expressions are left out: matching one as short as (\w{0,20}){0,10} takes 45 microseconds a row.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import pyarrow as pa

from schemas.errors import FilterError

MAX_CHARACTERS = 8000
"""Room for the ids of a thousand photos. As many terms as that holds cost LanceDB half a second."""

# LanceDB takes 21 s for 40 of "not (", in each other; at 24 it no longer understands them.
MAX_NESTING = 12

# Every operator makes the tree deeper. LanceDB crashes between 600 and 900, and its time grows with
# the square: 0.01 s for 50, 0.7 s for 500.
MAX_OPERATORS = 50

FUNCTIONS = (
    "abs",
    "char_length",
    "coalesce",
    "contains",
    "date_part",
    "date_trunc",
    "ends_with",
    "length",
    "lower",
    "round",
    "starts_with",
    "upper",
)
TYPES = ("bigint", "boolean", "date", "double", "float", "int", "smallint", "string", "timestamp")

_LARGEST_INTEGER = 2**63 - 1
_SHOWN_CHARACTERS = 300

_COMPARISONS = ("=", "==", "!=", "<>", "<", "<=", ">", ">=")
_ARITHMETIC = ("+", "-", "*", "/", "%")
_CONSTANTS = ("null", "true", "false")
_RANGES = ("in", "between", "like", "ilike")
_RESERVED = frozenset({"and", "or", "not", "is", *_RANGES})

_Kind = Literal["space", "text", "quoted", "number", "word", "comment", "symbol", "end"]


class _Token(NamedTuple):
    kind: _Kind
    text: str

    @property
    def key(self) -> str:
        """What the token is compared by; that of a text or a quoted name is no word's."""
        return _folded(self.text)


def safe_condition(text: str, *, columns: pa.Schema) -> str:
    """Return a filter as SQL that is one condition over the columns, and can do nothing else.

    The SQL is written from what was recognised and selects the same rows as the filter does.
    Names of columns are read as LanceDB does: in double quotes or backticks as they stand,
    without them in any case. In the pattern of a LIKE the backslash escapes.

    Parameters
    ----------
    text : str
        Any text whatever.
    columns : pa.Schema
        Of the table. Vectors, other nested columns and bytes cannot be asked for.

    Raises
    ------
    FilterError
        If it is no condition, has more than 8,000 characters, nests more than 12 deep, or has more
        than 50 arithmetic operators. No other error is raised for any text.

    Examples
    --------
    >>> safe_condition("Width>=100 AND path LIKE '%''23'", columns=pa.schema(
    ...     [("width", pa.int32()), ("path", pa.string())]))
    "`width` >= 100 and `path` like '%''23'"
    """
    if len(text) > MAX_CHARACTERS:
        raise _refused(text, f"it has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed")
    return _Reader(text, _names(columns)).read()


def _refused(text: str, reason: str) -> FilterError:
    return FilterError(f"the filter {_shown(text)} is not valid: {reason}")


def _shown(text: str) -> str:
    is_long = len(text) > _SHOWN_CHARACTERS
    return repr(f"{text[:_SHOWN_CHARACTERS]}..." if is_long else text)


def _names(columns: pa.Schema) -> list[str]:
    return [
        field.name
        for field in columns
        if not any(is_kind(field.type) for is_kind in _NOT_TO_FILTER_BY)
    ]


_NOT_TO_FILTER_BY = (
    pa.types.is_nested,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)


def _folded(word: str) -> str:
    """Return a word in lower case, where that is what SQL means by it."""
    return word.lower() if word.isascii() else word


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<text>'(?:[^']|'')*+')
    |(?P<quoted>"(?:[^"]|"")*+"|`(?:[^`]|``)*+`)
    |(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<word>[^\W\d]\w*)
    |(?P<comment>--|/\*)
    |(?P<symbol><=|>=|<>|!=|==|[<>=+\-*/%(),])""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[_Token]:
    """Return the tokens of a filter, and one that stands for its end."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise _refused(text, "it holds a character that is no text")
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _refused(text, _stray(text[position]))
        kind: _Kind = found.lastgroup  # type: ignore[assignment]  # a group always matches
        if kind == "comment":
            raise _refused(text, f"comments ({found.group()}) are not allowed")
        if kind != "space":
            tokens.append(_Token(kind, found.group()))
        position = found.end()
    return [*tokens, _Token("end", "")]


def _stray(character: str) -> str:
    if character in "'\"`":
        return f"the quote {character} is not closed"
    if character in "0123456789":
        return "a number has letters or dots behind it"
    return (
        f"{character!r} is not allowed; a filter is one condition, such as "
        "width > 100 and path like '%2023%', with texts in '...'"
    )


class _Reader:
    """Reads one filter by the grammar, and writes down what it recognises."""

    def __init__(self, text: str, names: list[str]) -> None:
        self._text = text
        self._names = names
        self._tokens = _tokens(text)
        self._position = 0
        self._nesting = 0
        self._n_operators = 0
        self._written: list[str] = []

    def read(self) -> str:
        """Return the condition that is all of the text."""
        self._condition()
        if self._token.kind != "end":
            raise self._unexpected("and, or or the end")
        return " ".join(self._written)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._position]

    @property
    def _behind(self) -> _Token:
        """The token behind this one; behind the end, the end."""
        return self._tokens[min(self._position + 1, len(self._tokens) - 1)]

    def _write(self, sql: str) -> None:
        """Write down what the current token means, and go on to the next."""
        self._written.append(sql)
        self._position += 1

    def _take(self, *keys: str) -> bool:
        """Read one of these words or symbols if it comes next."""
        if self._token.key not in keys:
            return False
        # The text of the grammar, not that of the user.
        self._write(keys[keys.index(self._token.key)])
        return True

    def _expect(self, *keys: str) -> None:
        if not self._take(*keys):
            raise self._unexpected(" or ".join(keys))

    def _unexpected(self, expected: str) -> FilterError:
        found = repr(self._token.text) if self._token.text else "its end"
        return _refused(self._text, f"{found} stands where {expected} is expected")

    def _nested(self, read: Callable[[], None]) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise _refused(self._text, f"it is nested more than {MAX_NESTING} deep")
        read()
        self._nesting -= 1

    def _listed(self, read: Callable[[], None]) -> None:
        read()
        while self._take(","):
            read()

    def _condition(self) -> None:
        self._predicate()
        while self._take("and", "or"):
            self._predicate()

    def _predicate(self) -> None:
        if self._take("not"):
            self._nested(self._predicate)
            return
        self._sum()
        if self._take(*_COMPARISONS):
            self._sum()
        elif self._take("is"):
            self._take("not")
            self._expect(*_CONSTANTS)
        elif self._take("not") or self._token.key in _RANGES:
            self._range()

    def _range(self) -> None:
        if self._take("in"):
            self._expect("(")
            self._nested(lambda: self._listed(self._sum))
            self._expect(")")
        elif self._take("between"):
            self._sum()
            self._expect("and")
            self._sum()
        else:
            self._expect(*_RANGES)
            # A pattern that differs from row to row is compiled for each of them.
            self._literal()

    def _sum(self) -> None:
        self._signed()
        while self._take(*_ARITHMETIC):
            self._n_operators += 1
            if self._n_operators > MAX_OPERATORS:
                operators = " ".join(_ARITHMETIC)
                raise _refused(self._text, f"it has more than {MAX_OPERATORS} of {operators}")
            self._signed()

    def _signed(self) -> None:
        if self._take("-"):
            self._nested(self._signed)
        else:
            self._value()

    def _value(self) -> None:
        kind, key = self._token.kind, self._token.key
        if kind == "number":
            self._number()
        elif kind == "text":
            self._literal()
        elif kind == "quoted":
            self._column(_unquoted(self._token.text))
        elif self._take("("):
            self._nested(self._condition)
            self._expect(")")
        elif kind == "word" and key not in _RESERVED:
            self._word(key)
        else:
            raise self._unexpected("a column or a value")

    def _word(self, key: str) -> None:
        if self._behind.key == "(":
            self._call(key)
        elif key in ("date", "timestamp") and self._behind.kind == "text":
            self._expect(key)
            self._literal()
        elif not self._take(*_CONSTANTS):
            self._column(self._token.text)

    def _call(self, name: str) -> None:
        if name != "cast" and name not in FUNCTIONS:
            raise _refused(
                self._text, f"{name!r} is not a function that filters have: {_listing(FUNCTIONS)}"
            )
        self._expect(name)
        self._expect("(")
        if name == "cast":
            self._nested(self._condition)
            self._expect("as")
            self._expect(*TYPES)
        elif self._token.key != ")":
            self._nested(lambda: self._listed(self._condition))
        self._expect(")")

    def _number(self) -> None:
        number = self._token.text
        # Python reads no integer of more than 4,300 digits; without zeros in front, those are inf.
        digits = number.lstrip("0") or "0"
        if math.isinf(float(number)) or (digits.isdigit() and int(digits) > _LARGEST_INTEGER):
            raise _refused(self._text, f"the number {_shown(number)} is too large")
        self._write(number)

    def _literal(self) -> None:
        if self._token.kind != "text":
            raise self._unexpected("a text in '...'")
        self._write(_quoted(_unquoted(self._token.text), "'"))

    def _column(self, name: str) -> None:
        known = name if name in self._names else self._same_letters(name)
        if known is None:
            raise _refused(
                self._text,
                f"there is no column {_shown(name)}; {self._near(name[:_SHOWN_CHARACTERS])}",
            )
        self._write(_quoted(known, "`"))

    def _same_letters(self, name: str) -> str | None:
        """Return the column that an unquoted name means in another case."""
        if self._token.kind != "word":
            return None
        return next((known for known in self._names if _folded(known) == _folded(name)), None)

    def _near(self, name: str) -> str:
        if self._token.text.startswith('"'):
            return "texts stand in '...', and names of columns in \"...\""
        near = difflib.get_close_matches(name.lower(), self._names)
        if near:
            return f"did you mean {' or '.join(near)}?"
        return f"the columns are {_listing(self._names)}"


def _unquoted(token: str) -> str:
    return token[1:-1].replace(token[0] * 2, token[0])


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


def _listing(names: Iterable[str]) -> str:
    return ", ".join(names)
