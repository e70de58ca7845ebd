import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from service.evaluation.sweep import Sweep, SweptKind, parse_sweep, shown_value

ALLOWED: dict[str, SweptKind] = {"lambda": "number", "K": "count", "band": "band"}


def values(text):
    return parse_sweep(text, allowed=ALLOWED).values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("lambda=0:1:0.25", (0.0, 0.25, 0.5, 0.75, 1.0), id="both-ends"),
        pytest.param("lambda=0:1:0.4", (0.0, 0.4, 0.8), id="step-that-misses-the-stop"),
        pytest.param("lambda=-1:1:1", (-1.0, 0.0, 1.0), id="negative-start"),
        pytest.param("lambda=.5:.5:1", (0.5,), id="one-value"),
        pytest.param(" lambda = 0.3 , 1e-3 ", (0.3, 0.001), id="list-with-spaces"),
        pytest.param("lambda=1,0.5,1", (1.0, 0.5), id="in-order-and-once"),
        pytest.param("LAMBDA=1", (1.0,), id="name-in-any-case"),
        pytest.param("K=1,5,10", (1, 5, 10), id="counts"),
        pytest.param("K=10:30:10", (10, 20, 30), id="range-of-counts"),
        pytest.param("k=10.0", (10,), id="whole-number-with-a-point"),
        pytest.param("band=50/50,100/50,150/0", ((50, 50), (100, 50), (150, 0)), id="bands"),
    ],
)
def test_reads_lists_and_ranges(text, expected):
    found = values(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_a_range_does_not_drift():
    assert values("lambda=0:1:0.1") == tuple(float(f"{tenth / 10}") for tenth in range(11))


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(1, 40))
def test_a_range_of_hundredths_holds_what_would_be_written_by_hand(start, steps, step):
    stop = start + steps * step
    found = values(f"lambda={start / 100}:{stop / 100}:{step / 100}")
    written = [float(f"{hundredth / 100}") for hundredth in range(start, stop + 1, step)]
    assert list(found) == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha=1", "cannot sweep 'alpha' here; choose one of lambda, K, band"),
        ("lambda", r"has no values; write lambda=START:STOP:STEP or lambda=VALUE,VALUE"),
        ("lambda=", "has no values"),
        ("lambda=0:1", "'0:1' is no range for lambda; write START:STOP:STEP"),
        ("lambda=0:one:1", "is no range for lambda"),
        ("lambda=0:1:0", "leads nowhere; its step must be above 0"),
        ("lambda=1:0:0.5", "leads nowhere"),
        ("lambda=0:1e300:1", "more than 1000 values; ask for fewer"),
        ("lambda=nan", "'nan' is no value of lambda; it takes a number, as in 0.5"),
        ("lambda=1e999", "'1e999' is no value of lambda"),
        ("lambda=1,,2", "'' is no value of lambda"),
        ("K=0", "'0' is no value of K; it takes a whole number from 1"),
        ("K=1:2:0.5", "'1.5' is no value of K"),
        ("band=50", "'50' is no value of band; it takes TOP/BOTTOM, as in 150/50"),
        ("band=0:100:50", "'0' is no value of band"),
    ],
)
def test_says_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message):
        values(text)


def test_refuses_more_values_than_anyone_waits_for():
    with pytest.raises(InputError, match="more than 1000 values"):
        values("K=" + ",".join(str(number) for number in range(1, 1002)))


def test_two_settings_that_differ_in_case_only_are_told_apart():
    both: dict[str, SweptKind] = {"k": "count", "K": "number"}
    assert parse_sweep("K=1", allowed=both).values == (1.0,)
    assert parse_sweep("k=1", allowed=both).counts == (1,)


@pytest.mark.parametrize("text", ["lambda=0.25", "K=10", "band=150/50"])
def test_a_value_is_shown_as_it_is_written(text):
    sweep = parse_sweep(text, allowed=ALLOWED)
    assert f"{sweep.name}={shown_value(sweep.values[0])}" == text


class TestTypedValues:
    def test_gives_what_was_asked_for(self):
        assert Sweep("K", (1, 5)).counts == (1, 5)
        assert Sweep("K", (1, 5)).numbers == (1.0, 5.0)
        assert Sweep("lambda", (0.5,)).numbers == (0.5,)
        assert Sweep("band", ((1, 2),)).bands == ((1, 2),)

    def test_refuses_another_kind(self):
        with pytest.raises(ValueError, match="the values of band are bands, not numbers"):
            _ = Sweep("band", ((1, 2),)).numbers
        with pytest.raises(ValueError, match="the values of lambda are not all whole numbers"):
            _ = Sweep("lambda", (0.5,)).counts
        with pytest.raises(ValueError, match="the values of K are not bands"):
            _ = Sweep("K", (1,)).bands
