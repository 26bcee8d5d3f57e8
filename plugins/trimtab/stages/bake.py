"""Judge a new champion on the labels that have come since it went live."""

from collections.abc import Sequence
from datetime import date

import numpy as np

from trimtab.domain.gate import paired_test
from trimtab.domain.guards import GuardReport, waived
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import LOSS_NAMES, losses
from trimtab.domain.ports import Lake
from trimtab.domain.release import GUARD, has_reached, known_release, releases
from trimtab.domain.spec import LabelSpec, ReleaseSpec, Task
from trimtab.errors import TransitionError

BAKE_SIGNIFICANCE = 0.05
"""One-sided level at which a new champion that is worse than the one before is rolled back."""


def watch_bake(version: str, *, spec: ReleaseSpec, label: LabelSpec, ledger: Ledger, lake: Lake) -> GuardReport:
    """Judge a live version on the labelled days since it went live, against the champion before on the same rows."""
    release = known_release(version, ledger.entries("release"))
    if not has_reached(release, "live"):
        raise TransitionError(f"Release of version {version} is {release.state!r}, not live. It cannot be baked.")
    if release.held_by not in (None, GUARD):
        return GuardReport(outcome="wait", reasons=(f"held by {release.held_by}",))
    measured = labelled_days(version, ledger)
    if len(measured) < spec.bake_days:
        text = f"{len(measured)} of {spec.bake_days} labelled days seen"
        return waived(release, GuardReport(outcome="wait", reasons=(text,)))
    if release.previous is None:
        return GuardReport(outcome="pass", reasons=(f"{len(measured)} labelled days, no champion before to compare",))
    return waived(release, _compare_live(version, release.previous, measured, lake, label.task))


def labelled_days(version: str, ledger: Ledger) -> Sequence[str]:
    """Days after the version went live on which its predictions, and those of the version before, met labels."""
    entries = ledger.entries("release", version)
    live = [entry.as_of for entry in entries if entry.kind == "live"]
    compared = {version, *(one.previous for one in releases(entries).values())} - {None}
    return sorted(
        {
            entry.subject
            for entry in ledger.entries("feedback")
            if live and entry.subject > live[-1].isoformat() and compared <= set(entry.payload)
        }
    )


def _compare_live(version: str, previous: str, days: Sequence[str], lake: Lake, task: Task) -> GuardReport:
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    predictions = lake.read("predictions", first, last, part="batch")
    labels = lake.read("labels", first, last, columns=["_key", "_day", "label"])
    wide = predictions.pivot_table(index=["_day", "_key"], columns="version", values="prediction", aggfunc="first")
    joined = wide.reset_index().merge(labels, on=["_day", "_key"])
    if previous not in joined or version not in joined:
        return GuardReport(outcome="wait", reasons=("the two versions have not predicted the same rows yet",))
    joined = joined.dropna(subset=[version, previous])
    label = joined["label"].to_numpy(dtype=np.float64)
    new, old = (losses(task, label, joined[name].to_numpy(dtype=np.float64)) for name in (version, previous))
    test = paired_test(old, new, joined["_day"].to_numpy(dtype=object))
    if np.isnan(test.p_value):
        return GuardReport(outcome="wait", reasons=(f"{test.days} days with rows that both predicted, 2 are needed",))
    reason = (
        f"{LOSS_NAMES[task]} {new.mean():.3g} against {old.mean():.3g} of version {previous} "
        f"on {len(joined)} rows of {test.days} days"
    )
    worse = test.p_value <= BAKE_SIGNIFICANCE
    return GuardReport(outcome="trip" if worse else "pass", reasons=(reason,))
