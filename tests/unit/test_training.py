"""Windows, blocks of days and the trivial baseline."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.spec import CandidateSpec, EstimatorSpec
from trimtab.domain.training import Labelled, Snapshot, blocks_of_days, errors_of_days, trivial_baseline

CANDIDATE = CandidateSpec(name="a", window_days=14, estimator=EstimatorSpec(kind="hist_gradient_boosting"))
TAKEN = Snapshot(
    as_of=date(2013, 4, 1), last_labelled=date(2013, 3, 31), holdout_days=7, batches_version=3, labels_version=4
)


def days(*names: str) -> np.ndarray:
    return np.array(names, dtype=object)


def labelled(carrier: list[str | None], y_true: list[float]) -> Labelled:
    return Labelled(
        day=np.array([f"2013-01-{number + 1:02d}" for number in range(len(y_true))], dtype=object),
        key=np.array([str(number) for number in range(len(y_true))], dtype=object),
        rows={"carrier": np.array([*carrier, None], dtype=object)[:-1], "month": np.ones(len(y_true))},
        y_true=np.array(y_true),
    )


def test_trial_learns_from_the_days_before_the_hold_out_and_the_final_model_from_the_last_ones() -> None:
    assert TAKEN.holdout_first == date(2013, 3, 25)
    assert TAKEN.trial_window(CANDIDATE) == (date(2013, 3, 11), date(2013, 3, 24))
    assert TAKEN.final_window(CANDIDATE) == (date(2013, 3, 18), date(2013, 3, 31))


def test_window_of_the_snapshot_overrides_that_of_the_candidate() -> None:
    whole = replace(TAKEN, window_days=83)
    assert whole.final_window(CANDIDATE) == (date(2013, 1, 8), date(2013, 3, 31))


@given(st.integers(2, 60), st.integers(2, 400))
def test_windows_have_as_many_days_as_they_say_and_the_trial_never_sees_the_hold_out(holdout: int, window: int) -> None:
    taken = replace(TAKEN, holdout_days=holdout)
    candidate = CANDIDATE.model_copy(update={"window_days": window})
    for first, last in (taken.trial_window(candidate), taken.final_window(candidate)):
        assert (last - first).days + 1 == window
    assert taken.trial_window(candidate)[1] + timedelta(days=1) == taken.holdout_first
    assert (taken.last_labelled - taken.holdout_first).days + 1 == holdout


def test_training_is_named_by_all_that_it_depends_on() -> None:
    name = TAKEN.training_id("fingerprint", CANDIDATE)
    assert name == replace(TAKEN).training_id("fingerprint", CANDIDATE.model_copy())
    others = {
        TAKEN.training_id("another", CANDIDATE),
        TAKEN.training_id("fingerprint", CANDIDATE.model_copy(update={"window_days": 15})),
        replace(TAKEN, labels_version=5).training_id("fingerprint", CANDIDATE),
        replace(TAKEN, as_of=date(2013, 4, 2)).training_id("fingerprint", CANDIDATE),
        replace(TAKEN, window_days=14).training_id("fingerprint", CANDIDATE),
    }
    assert len(others | {name}) == 6


@given(st.lists(st.integers(1, 28), min_size=1, max_size=100), st.integers(1, 8))
def test_blocks_hold_every_row_once_keep_days_whole_and_are_contiguous(numbers: list[int], count: int) -> None:
    day = np.array([f"2013-01-{number:02d}" for number in numbers], dtype=object)
    blocks = blocks_of_days(day, count)
    assert len(blocks) == min(count, len(set(numbers)))
    assert np.sum(blocks, axis=0).tolist() == [1] * len(day)
    within = [sorted(set(day[block].tolist())) for block in blocks]
    assert [one for block in within for one in block] == sorted(set(day.tolist()))


def test_rows_between_two_days() -> None:
    chosen = labelled(["A", "B", None], [1.0, 2.0, 3.0]).between(date(2013, 1, 2), date(2013, 1, 3))
    assert chosen.key.tolist() == ["1", "2"]
    assert chosen.rows["carrier"].tolist() == ["B", None]
    assert chosen.y_true.tolist() == [2.0, 3.0]


def test_errors_of_each_day() -> None:
    found = errors_of_days("regression", days("b", "a", "b"), np.array([1.0, 10, 3]), np.array([2.0, 7, 1]))
    assert {day: (one.rows, one.loss, one.bias) for day, one in found.items()} == {"a": (1, 3, -3), "b": (2, 1.5, -0.5)}


def test_trivial_baseline_is_the_mean_of_rows_that_agree_and_the_overall_mean_elsewhere() -> None:
    train = labelled(["A", "A", "B", None], [1.0, 3.0, 8.0, 4.0])
    rows = {"carrier": np.array(["A", "B", "Z", None], dtype=object), "month": np.array([1.0, 1, 1, 2])}
    assert trivial_baseline("regression", train, rows, ("carrier",)).tolist() == [2.0, 8.0, 4.0, 4.0]
    assert trivial_baseline("regression", train, rows, ("carrier", "month")).tolist() == [2.0, 8.0, 4.0, 4.0]
    assert trivial_baseline("regression", train, rows, ()).tolist() == [4.0] * 4


def test_share_of_a_group_is_mixed_with_two_rows_of_the_overall_share() -> None:
    train = labelled(["A", "A", "B", "B"], [1.0, 1.0, 0.0, 0.0])
    rows = {"carrier": np.array(["A", "B", "Z"], dtype=object)}
    assert trivial_baseline("binary", train, rows, ("carrier",)).tolist() == [0.75, 0.25, 0.5]


def test_errors_of_each_day_have_those_of_its_slices() -> None:
    carrier = np.array(["UA", "AA", "UA"], dtype=object)
    found = errors_of_days("regression", days("b", "a", "b"), np.zeros(3), np.array([1.0, 2, -3]), {"carrier": carrier})
    assert {day: set(one.slices) for day, one in found.items()} == {"a": {"carrier=AA"}, "b": {"carrier=UA"}}
    united = found["b"].slices["carrier=UA"]
    assert (united.rows, united.loss, united.bias) == (2, 2, -1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-100, 100)), min_size=1, max_size=50))
def test_trivial_baseline_of_its_own_rows_has_no_bias(pairs: list[tuple[str, float]]) -> None:
    train = labelled([name for name, _ in pairs], [label for _, label in pairs])
    predicted = trivial_baseline("regression", train, train.rows, ("carrier",))
    assert predicted.mean() == pytest.approx(train.y_true.mean(), abs=1e-9)
