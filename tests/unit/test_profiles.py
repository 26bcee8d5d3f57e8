"""Profiles add up, lose no row, keep their digits, and tell known values from new ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from trimtab.domain.binning import COARSE_BINS, MAX_CATEGORIES, MAX_KNOWN, bins_of
from trimtab.domain.columns import Column, Columns
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.profiles import LARGEST, ColumnBins, ColumnProfile, Moments, Profile, total
from trimtab.errors import DataContractError

NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=60)
TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "c", ""]), min_size=0, max_size=60)
JSON = TypeAdapter(Profile)


def numbers(values: list[float]) -> Column:
    return np.array(values, dtype=np.float64)


def texts(values: list[str | None]) -> Column:
    return np.array([*values, None], dtype=object)[:-1]


def moments_of(column: ColumnProfile) -> tuple[float, ...]:
    """In proportion to what was added up, so that the order of adding does not matter."""
    assert column.moments is not None
    scale = math.sqrt(column.moments.squares * max(column.moments.rows, 1)) or 1.0
    return (column.moments.total / scale, column.moments.squares / scale**2)


def assert_same(first: Profile, second: Profile) -> None:
    """Counts and extremes equal, moments but for rounding."""
    assert first.rows == second.rows
    assert first.columns.keys() == second.columns.keys()
    assert first.slices.keys() == second.slices.keys()
    for name, one in first.columns.items():
        other = second.columns[name]
        assert (one.counts, one.missing) == (other.counts, other.missing)
        if one.moments and other.moments:
            assert (one.moments.rows, one.moments.smallest, one.moments.largest) == (
                other.moments.rows,
                other.moments.smallest,
                other.moments.largest,
            )
            assert moments_of(one) == pytest.approx(moments_of(other), rel=1e-12, abs=1e-12)
    for name in first.slices:
        assert_same(first.slices[name], second.slices[name])


@given(NUMBERS, NUMBERS, NUMBERS)
def test_sum_of_numeric_profiles_is_the_profile_of_all_rows_in_any_order(
    reference: list[float], first: list[float], second: list[float]
) -> None:
    bins = bins_of({"x": numbers(reference)})
    parts = [profile({"x": numbers(values)}, bins) for values in (first, second)]
    assert_same(total(parts), profile({"x": numbers(first + second)}, bins))
    assert_same(total(parts[::-1]), total(parts))


@given(TEXTS, TEXTS, TEXTS)
def test_sum_of_categorical_profiles_is_the_profile_of_all_rows(
    reference: list[str | None], first: list[str | None], second: list[str | None]
) -> None:
    bins = bins_of({"x": texts(reference)})
    parts = [profile({"x": texts(values)}, bins) for values in (first, second)]
    assert parts[0] + parts[1] == profile({"x": texts(first + second)}, bins)


@given(NUMBERS, TEXTS)
def test_sum_of_sliced_profiles_is_the_sliced_profile_of_all_rows(values: list[float], names: list[str | None]) -> None:
    size = min(len(values), len(names))
    columns: Columns = {"x": numbers(values[:size])}
    origin = np.array([name or "missing" for name in names[:size]] + [None], dtype=object)[:-1]
    bins = bins_of(columns)
    whole = profile(columns, bins, {"origin": origin})
    half = size // 2
    parts = [
        profile({"x": columns["x"][cut]}, bins, {"origin": origin[cut]}) for cut in (slice(half), slice(half, size))
    ]
    assert_same(total(parts), whole)
    assert sum(one.rows for one in whole.slices.values()) == size
    assert all(name.startswith("origin=") for name in whole.slices)


@given(NUMBERS, NUMBERS)
def test_numeric_counts_and_missing_sum_to_the_rows(reference: list[float], values: list[float]) -> None:
    counted = profile({"x": numbers(values)}, bins_of({"x": numbers(reference)}))
    column = counted.columns["x"]
    assert column.rows == counted.rows == len(values)
    assert column.missing == int(np.isnan(numbers(values)).sum())
    assert column.infinite == int(np.isinf(numbers(values)).sum())
    assert column.masses.sum() == len(values)


@given(NUMBERS, NUMBERS)
def test_out_of_range_is_what_lies_outside_the_extremes_of_the_reference(
    reference: list[float], values: list[float]
) -> None:
    known = [value for value in reference if math.isfinite(value)]
    column = profile_column(numbers(values), bins_of({"x": numbers(reference)})["x"])
    present = [value for value in values if not math.isnan(value)]
    outside = [value for value in present if not known or not min(known) <= value <= max(known)]
    assert column.out_of_range == len(outside)


@given(TEXTS, TEXTS)
def test_categorical_counts_and_missing_sum_to_the_rows(reference: list[str | None], values: list[str | None]) -> None:
    column = profile_column(texts(values), bins_of({"x": texts(reference)})["x"])
    assert column.rows == len(values)
    assert column.missing == values.count(None)
    assert column.new == sum(value is not None and value not in reference for value in values)
    assert column.out_of_range == column.infinite == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.sampled_from([0.0, 1e9, -1e12]))
def test_mean_and_sd_keep_their_digits_far_from_zero(values: list[float], offset: float) -> None:
    column = numbers(values) + offset
    counted = profile_column(column, bins_of({"x": column})["x"])
    exact = [value - offset for value in column.tolist()]  # exact, for numbers that near to each other
    assert counted.mean - offset == pytest.approx(np.mean(exact), abs=1e-9 * max(1.0, abs(offset)))
    assert counted.sd == pytest.approx(np.std(exact, ddof=1), rel=1e-9, abs=1e-15 * abs(offset))


@given(st.one_of(NUMBERS.map(numbers), TEXTS.map(texts)), st.one_of(NUMBERS.map(numbers)))
def test_coarsened_profile_is_the_profile_on_the_coarser_bins(reference: Column, values: Column) -> None:
    current: Column = values if reference.dtype.kind == "f" else reference
    bins = bins_of({"x": reference})["x"]
    assert bins.coarsen(profile_column(current, bins)) == profile_column(current, bins.coarser)


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.normal(size=30_000),
        lambda random: random.lognormal(sigma=2, size=30_000),
        lambda random: random.standard_cauchy(30_000),
        lambda random: np.where(random.random(30_000) < 0.4, 0.0, random.exponential(size=30_000)),
        lambda random: random.integers(0, 2000, 30_000).astype(np.float64),
        lambda random: random.integers(0, 7, 30_000).astype(np.float64),
    ],
    ids=["normal", "lognormal", "cauchy", "zero-inflated", "integers", "few values"],
)
def test_bins_suit_any_distribution(draw: object) -> None:
    values = draw(np.random.default_rng(0))  # type: ignore[operator]
    bins = bins_of({"x": values})["x"]
    counted = profile_column(values, bins)
    assert len(bins.edges) <= 260
    assert counted.out_of_range == 0
    shares = np.array(bins.coarsen(counted).counts) / len(values)
    spread = values[values != 0] if (values == 0).mean() > 0.3 else values
    alone = [(spread == value).mean() for value in set(np.unique(spread).tolist())] if len(set(values)) < 10 else [0.0]
    assert max(shares[1:-1].min(), 0) >= 0
    limit = max(1 / COARSE_BINS + 0.002, max(alone) + 0.002, float((values == 0).mean()) + 0.002)
    assert shares.max() <= limit


def test_equal_shares_of_a_smooth_column_are_equal_in_the_coarse_view() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    bins = bins_of({"x": values})["x"]
    counts = bins.coarsen(profile_column(values, bins)).counts
    assert counts == (0, *[1000] * COARSE_BINS, 0)


def test_value_that_many_rows_share_has_a_bin_of_its_own() -> None:
    random = np.random.default_rng(0)
    values = np.where(random.random(20_000) < 0.3, 0.0, random.normal(size=20_000))
    bins = bins_of({"x": values})["x"]
    of_zero, of_less, of_more = (
        profile_column(np.array([value]), bins).counts.index(1) for value in (0.0, -0.01, 0.01)
    )
    assert of_less < of_zero < of_more
    assert profile_column(values, bins).counts[of_zero] == (values == 0).sum()


def test_number_written_with_fewer_digits_stays_in_its_bin() -> None:
    values = np.random.default_rng(0).choice([0.1, 0.2, 0.3, 0.7], 1000)
    bins = bins_of({"x": values})["x"]
    rounded = values.astype(np.float32).astype(np.float64)
    assert profile_column(rounded, bins).counts[1:4] == profile_column(values, bins).counts[1:4]


def test_constant_number_is_told_from_smaller_and_larger_ones() -> None:
    bins = bins_of({"x": np.full(10, 3.0)})["x"]
    counted = profile_column(np.array([3.0, 2.9, 3.1, 3.0]), bins)
    assert counted.counts == (1, 2, 1)
    assert counted.out_of_range_share == 0.5
    assert profile_column(np.full(3, 3.0), bins).sd == 0.0


def test_column_without_a_value_is_missing_and_has_no_mean() -> None:
    columns: Columns = {"x": np.full(4, np.nan), "c": np.array([None] * 4, dtype=object)}
    counted = profile(columns, bins_of(columns)).columns
    assert counted["x"] == ColumnProfile(counts=(0, 0), missing=4, moments=Moments())
    assert counted["c"] == ColumnProfile(counts=(0, 0), missing=4)
    assert counted["x"].missing_share == counted["c"].missing_share == 1.0
    assert all(math.isnan(value) for value in (counted["x"].mean, counted["x"].sd, counted["c"].mean))


def test_number_that_the_reference_never_had_is_out_of_range() -> None:
    bins = bins_of({"x": np.full(4, np.nan)})["x"]
    assert profile_column(np.array([1.0, -1.0, np.nan]), bins).out_of_range == 2


def test_profile_of_no_rows_is_empty() -> None:
    counted = profile({"x": np.array([])}, {"x": ColumnBins(edges=(1.0,))}).columns["x"]
    assert counted == ColumnProfile(counts=(0, 0), missing=0, moments=Moments())
    assert math.isnan(counted.missing_share)
    assert math.isnan(counted.new_share)


def test_infinite_and_huge_numbers_do_not_spoil_the_moments() -> None:
    bins = bins_of({"x": np.arange(5.0)})["x"]
    counted = profile_column(np.array([1.0, 2.0, np.inf, -np.inf, 2 * LARGEST, np.nan]), bins)
    assert (counted.infinite, counted.missing, counted.out_of_range) == (3, 1, 3)
    assert (counted.mean, counted.sd) == (1.5, pytest.approx(math.sqrt(0.5)))


def test_rare_categories_are_known_together_and_told_from_new_ones() -> None:
    often = [f"often {number:03}" for number in range(MAX_CATEGORIES)]
    rare = [f"rare {number:03}" for number in range(500)]
    bins = bins_of({"c": texts([*often, *often, *rare])})["c"]
    assert (len(bins.categories), len(bins.others)) == (MAX_CATEGORIES, 500)
    counted = profile_column(texts(["often 000", "rare 400", "rare 401", "never", None]), bins)
    assert counted.counts[-2:] == (2, 1)
    assert (counted.counts[0], counted.missing, counted.new_share) == (1, 1, 0.25)
    assert bins.coarsen(counted) == profile_column(
        texts(["often 000", "rare 400", "rare 401", "never", None]), bins.coarser
    )


def test_a_key_is_remembered_up_to_a_bound_and_its_own_days_have_new_values_too() -> None:
    keys = texts([f"{number}" for number in range(MAX_KNOWN + 100)])
    bins = bins_of({"c": keys})["c"]
    assert len(bins.categories) + len(bins.others) == MAX_KNOWN
    assert profile_column(keys, bins).new == 100


def test_profiles_on_different_bins_do_not_add_up() -> None:
    first, second = (profile({"x": np.arange(size)}, bins_of({"x": np.arange(float(size))})) for size in (5, 9))
    with pytest.raises(DataContractError, match=r"Profiles on different bins cannot be added\."):
        first + second


def test_json_is_stable_and_whole() -> None:
    columns: Columns = {"x": numbers([1, 2, math.inf, math.nan]), "c": texts(["a", "b", None, "a"])}
    counted = profile(columns, bins_of(columns), {"c": texts(["a", "b", "missing", "a"])})
    content = JSON.dump_json(counted)
    assert JSON.validate_json(content) == counted
    assert JSON.dump_json(JSON.validate_json(content)) == content
    assert JSON.dump_json(counted + counted) == JSON.dump_json(total([counted, counted]))


def test_a_profile_of_a_later_format_is_refused() -> None:
    with pytest.raises(ValidationError, match="format_version"):
        JSON.validate_json(b'{"rows": 0, "columns": {}, "slices": {}, "format_version": 2}')
