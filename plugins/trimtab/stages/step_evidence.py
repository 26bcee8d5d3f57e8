"""What traffic log, lake and ledger know about a step of a release."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.guards import ArmTraffic, Quality, StepEvidence, relative_losses
from trimtab.domain.interaction import Interaction, interactions_since
from trimtab.domain.journal import Entry, JsonValue, Ledger
from trimtab.domain.metrics import losses
from trimtab.domain.ports import Lake, TrafficLog
from trimtab.domain.release import Release, own_entries, releases, routing
from trimtab.domain.sequential import Moments
from trimtab.domain.spec import LabelSpec
from trimtab.stages.memory import known_memory

SHADOW = "shadow"
"""Field of a `step` entry: the predictions of both versions in the shadow step before."""


def step_evidence(release: Release, entries: Sequence[Entry], traffic: TrafficLog, quality: Quality) -> StepEvidence:
    """All that is known about the step that a release is in; `entries` are those of the release stream."""
    arms = traffic.arms(routing(entries))
    return StepEvidence(
        champion=arms.get(release.previous or "", ArmTraffic()),
        challenger=arms.get(release.version, ArmTraffic()),
        shadow=_shadow(own_entries(release, entries)),
        quality=quality,
        memory=known_memory(release, entries),
    )


def step_quality(version: str, *, ledger: Ledger, lake: Lake, label: LabelSpec) -> Quality:
    """What labels and users have said about the predictions of the step that a release is in."""
    entries = ledger.entries("release")
    release = releases(entries).get(version)
    if release is None or release.state != "step" or release.previous is None:
        return Quality()
    began = next(entry.as_of for entry in entries if entry.sequence == release.began)
    said = [entry for entry in ledger.entries("feedback") if entry.subject >= began.isoformat()]
    if not said:
        return Quality()
    used = interactions_since(said, began.isoformat())
    pair = (release.previous, version)
    return _quality(_labelled(pair, began, routing(entries).sequence, lake), pair, label, used)


def _labelled(pair: tuple[str, str], began: date, route: int, lake: Lake) -> pd.DataFrame:
    """A line for each labelled row of the step (`_day`, `_key`), with a column for each version that predicted it."""
    predicted = lake.read("predictions", began, date.max)
    labels = lake.read("labels", began, date.max, columns=["_key", "_day", "label"])
    if not len(predicted) or not len(labels):
        return pd.DataFrame(columns=[*pair, "label"], dtype=np.float64)
    predicted = predicted[(predicted["route"] == route) & predicted["version"].isin(pair)]
    wide = predicted.pivot_table(index=["_day", "_key"], columns="version", values="prediction", aggfunc="first")
    return wide.reindex(columns=[*pair]).reset_index().merge(labels, on=["_day", "_key"])


def _quality(
    labelled: pd.DataFrame, pair: tuple[str, str], label: LabelSpec, used: Mapping[str, Interaction]
) -> Quality:
    y_true = labelled["label"].to_numpy(dtype=np.float64)
    old, new = (losses(label.task, y_true, labelled[version].to_numpy(dtype=np.float64)) for version in pair)
    has_old, has_new = np.isfinite(old), np.isfinite(new)
    both = has_old & has_new
    return Quality(
        paired=relative_losses(new[both], old[both]),
        champion=Moments.of(old[has_old & ~has_new]),
        challenger=Moments.of(new[has_new & ~has_old]),
        interactions=(used.get(pair[0], Interaction()), used.get(pair[1], Interaction())),
    )


def ended_step(release: Release, entries: Sequence[Entry], traffic: TrafficLog) -> Mapping[str, JsonValue]:
    """What is kept of the step that ends: the counts of both versions, and the predictions if it was a shadow."""
    if release.state != "step":
        return {}
    evidence = step_evidence(release, entries, traffic, Quality())
    arms = {"champion": evidence.champion, "challenger": evidence.challenger}
    counts: dict[str, JsonValue] = {
        name: {"requests": arm.requests, "failures": arm.failures, "latency_ms_p50": _rounded(arm.latency_ms_p50)}
        for name, arm in arms.items()
    }
    kept: dict[str, JsonValue] = {"evidence": {"step": release.step, **counts}}
    if release.share == 0:
        kept[SHADOW] = [_moments_json(arm.outputs) for arm in arms.values()]
    return kept


def _rounded(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None


def _moments_json(moments: Moments) -> JsonValue:
    return [moments.count, moments.mean, moments.scatter]


def _shadow(own: Sequence[Entry]) -> tuple[Moments, Moments] | None:
    for entry in reversed(own):
        kept = entry.payload.get(SHADOW)
        if isinstance(kept, list):
            champion, challenger = (_moments(one) for one in kept)
            return champion, challenger
    return None


def _moments(content: JsonValue) -> Moments:
    count, mean, scatter = (float(str(one)) for one in content) if isinstance(content, list) else (0.0, 0.0, 0.0)
    return Moments(count=int(count), mean=mean, scatter=scatter)
