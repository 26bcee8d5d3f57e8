"""A grid counts exactly what a search for each value counts, wherever values and edges lie."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trimtab.domain import counting
from trimtab.domain.binning import number_bins
from trimtab.domain.counting import NumberTally
from trimtab.domain.edge_grid import CELLS, EdgeGrid, grid_for
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST, ColumnBins

FINITE = st.floats(min_value=-LARGEST, max_value=LARGEST)
NEAR = st.integers(-3 * CELLS, 3 * CELLS).map(lambda step: step / CELLS)
"""About as far apart as cells are, so that many values share one."""


def with_neighbours(values: FloatArray) -> FloatArray:
    return np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])


@given(st.lists(FINITE | NEAR, min_size=2, max_size=40), st.lists(FINITE | NEAR, max_size=40), st.floats(0, 1))
def test_counts_below_each_edge_are_those_of_a_search(edges: list[float], values: list[float], where: float) -> None:
    ascending = np.unique(edges)
    assume(ascending[-1] - ascending[0] > CELLS / LARGEST)
    centre = min(max(float(ascending[0] + where * (ascending[-1] - ascending[0])), ascending[0]), ascending[-1])
    numbers = np.concatenate([np.array(values), with_neighbours(ascending)])
    places, compared = EdgeGrid(ascending, centre).places(numbers, numbers - centre)
    assert places.tolist() == np.sort(numbers).searchsorted(ascending).tolist()
    beyond = numbers[(numbers < ascending[0]) | (numbers >= ascending[-1])]
    assert compared.tolist() == sorted(compared)
    assert set(beyond) <= set(compared)


def test_few_of_many_values_are_compared() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, 50_000)
    bins = number_bins(values)
    places, compared = EdgeGrid(np.array(bins.edges), bins.centre).places(values, values - bins.centre)
    assert places.tolist() == np.sort(values).searchsorted(bins.edges).tolist()
    assert 0 < len(compared) < 2500


@pytest.mark.parametrize(
    ("values", "suits"),
    [
        (np.random.default_rng(0).normal(size=10_000), True),
        (np.arange(10_000.0) % 300, True),
        (np.arange(10_000.0) % 24, False),
        (np.random.default_rng(0).lognormal(sigma=4, size=10_000), False),
        (np.full(10_000, 7.0), False),
    ],
    ids=["smooth", "many whole numbers", "few different", "nearly all in one cell", "constant"],
)
def test_grid_is_for_columns_that_it_counts_more_quickly(values: FloatArray, suits: bool) -> None:
    bins = number_bins(values)
    assert (grid_for(np.array(bins.edges), bins.centre, np.sort(values)) is not None) == suits


def test_edges_that_cells_cannot_part_have_no_grid() -> None:
    many = np.arange(1000.0)
    assert grid_for(np.array([0.0, 5e-324]), 0.0, many) is None
    assert grid_for(np.array([0.0, 1000.0]), 1e9, many) is None


def test_numbers_that_have_mostly_moved_beyond_the_edges_are_sorted() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    bins = number_bins(values)
    assert grid_for(np.array(bins.edges), bins.centre, np.sort(values) + 3) is None


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in {"PIECE": 3000, "SORTED_AT_ONCE": 500, "SORTED_FIRST": 1000, "SMALLEST_ON_GRID": 200}.items():
        monkeypatch.setattr(counting, name, rows)


@pytest.fixture
def on_grid(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the pieces that a grid was given."""
    counted: list[int] = []

    class Noting(EdgeGrid):
        def places(self, values: FloatArray, shifted: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
            counted.append(len(values))
            return super().places(values, shifted)

    monkeypatch.setattr("trimtab.domain.edge_grid.EdgeGrid", Noting)
    return counted


class SortingOnly(NumberTally):
    """Never judges."""

    def _judge(self, ordered: FloatArray) -> None:
        """Sorting stays."""


def both(bins: ColumnBins, pieces: list[FloatArray]) -> tuple[NumberTally, NumberTally]:
    tally, definition = NumberTally(bins), SortingOnly(bins)
    for piece in pieces:
        tally.add(piece, missing=3)
        definition.add(piece, missing=3)
    return tally, definition


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("shift", [0.0, 0.3, 50.0, -50.0])
def test_column_on_a_grid_has_the_profile_of_a_sorted_one(shift: float, on_grid: list[int]) -> None:
    random = np.random.default_rng(1)
    reference = random.gamma(3, size=8000)
    pieces = [random.gamma(3, size=rows) + shift * (number > 1) for number, rows in enumerate([1500, 150, 4000, 777])]
    tally, definition = both(number_bins(reference), pieces)
    assert on_grid == [500, 3000, 1000, 777]
    found, expected = tally.result(), definition.result()
    assert (found.counts, found.missing) == (expected.counts, expected.missing)
    assert sum(found.counts) == sum(map(len, pieces))
    one, other = found.moments, expected.moments
    assert one is not None
    assert other is not None
    assert (one.rows, one.smallest, one.largest) == (other.rows, other.smallest, other.largest)
    values = np.concatenate(pieces) - one.centre
    outside = np.concatenate(pieces)
    assert (one.total, one.squares) == pytest.approx((values.sum(), (values**2).sum()), rel=1e-9)
    assert one.below == pytest.approx(values[outside < reference.min()].sum(), rel=1e-9)
    assert one.above == pytest.approx(values[outside > reference.max()].sum(), rel=1e-9)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 2 * LARGEST])
def test_piece_with_a_number_that_is_none_is_sorted_and_the_next_is_not(odd: float, on_grid: list[int]) -> None:
    random = np.random.default_rng(2)
    bins = number_bins(random.normal(size=5000))
    spoilt = random.normal(size=900)
    spoilt[17] = odd
    tally, definition = both(bins, [random.normal(size=1000), spoilt, random.normal(size=600)])
    assert on_grid[-2:] == [400, 600]  # a finite one is noticed on the grid only
    assert len(on_grid) == (3 if math.isfinite(odd) else 2)
    assert (tally.result().counts, tally.result().missing) == (definition.result().counts, definition.result().missing)
    assert tally.result().infinite == (0 if math.isnan(odd) else 1)
