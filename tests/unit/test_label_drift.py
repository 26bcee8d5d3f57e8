"""Labels that have come beside those of the training."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from trimtab.domain.binning import number_bins
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.label_drift import label_drift
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LABEL, Profile, Reference

TRAINED = np.random.default_rng(0).normal(150, 40, 20_000)


def reference(labels: FloatArray = TRAINED) -> Reference:
    bins = number_bins(labels)
    return Reference(bins={}, days={}, errors={}, label_bins=bins, labels=profile_column(labels, bins))


def days(known: Reference, *labels: FloatArray) -> dict[str, Profile]:
    assert known.label_bins is not None
    bins = {LABEL: known.label_bins}
    return {f"2013-03-0{number}": profile({LABEL: values}, bins) for number, values in enumerate(labels, start=1)}


def test_distance_is_that_of_the_rows_of_all_days_together() -> None:
    first, second = (np.random.default_rng(seed).normal(160, 40, 5000) for seed in (1, 2))
    found = label_drift(reference(), days(reference(), first, second))
    assert found is not None
    both = np.concatenate([first, second])
    exact = wasserstein_distance(both, TRAINED) / TRAINED.std(ddof=1)
    assert found.drift.wasserstein == pytest.approx(exact, rel=0.01)
    assert (found.days, found.rows) == (2, 10_000)
    assert found.summary == (
        f"Labels (2 days, 10,000 rows): mean {both.mean():.4g}, in training {TRAINED.mean():.4g}; "
        f"they lie {exact:.2f} standard deviations from those of the training (Wasserstein)."
    )


def test_labels_of_yes_and_no_are_a_share() -> None:
    known = reference(np.repeat([0.0, 1.0], [75, 25]))
    found = label_drift(known, days(known, np.repeat([0.0, 1.0], [50, 50])))
    assert found is not None
    assert (found.mean, found.expected) == (0.5, 0.25)
    assert found.drift.wasserstein == pytest.approx(0.25 / np.repeat([0.0, 1.0], [75, 25]).std(ddof=1))


def test_nothing_is_said_without_labels_or_of_a_package_that_does_not_know_them() -> None:
    assert label_drift(reference(), {}) is None
    one_value = reference(np.zeros(10))
    without_spread = label_drift(one_value, days(one_value, np.ones(4)))
    assert without_spread is not None
    assert without_spread.summary == "Labels (1 day, 4 rows): mean 1, in training 0."
    old = Reference(bins={}, days={}, errors={})
    assert label_drift(old, days(reference(), TRAINED)) is None
