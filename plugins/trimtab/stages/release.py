"""Move a release from request to done, or back. The ledger decides; the registry's aliases mirror it.

Every function may be called again: a transition that has been made is not made twice, and the aliases are mirrored
each time, so that a process killed in between leaves nothing that the next call does not mend.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np

from trimtab.domain.gate import paired_test
from trimtab.domain.journal import Draft, Entry, Ledger, Payload
from trimtab.domain.metrics import LOSS_NAMES, losses
from trimtab.domain.ports import Alias, Lake, Registry, TrafficLog
from trimtab.domain.release import (
    ArmTraffic,
    GuardReport,
    Release,
    State,
    check,
    guard_step,
    has_reached,
    releases,
    routing,
)
from trimtab.domain.spec import LabelSpec, ReleaseSpec, StepSpec, Task
from trimtab.errors import TransitionError

BAKE_SIGNIFICANCE = 0.05
"""One-sided level at which a new champion that is worse than the one before is rolled back."""


def business_day(lake: Lake, at_least: date) -> date:
    """The day in the model's own time: the last one with an accepted batch."""
    return max([at_least, *lake.days("batches")[-1:]])


def request_release(version: str, *, as_of: date, reason: str, ledger: Ledger, registry: Registry) -> Release:
    """Ask for a version to become champion; the same request again, for the same day and reason, changes nothing.

    Raises:
        TransitionError: If another release is on its way, or the version is the champion.
    """
    after = ledger.head("release")
    entries = ledger.entries("release")
    known = releases(entries)
    if not _is_requested(version, as_of, reason, entries):
        if routing(entries).champion == version:
            raise TransitionError(f"Version {version} is the champion already. There is nothing to release.")
        others = [release.version for release in known.values() if release.is_open]
        if others:
            raise TransitionError(
                f"Release of version {version} cannot begin while that of version {others[0]} is on its way. "
                "Wait for it to end, or roll it back."
            )
        payload: Payload = {
            "previous": routing(entries).champion,
            "reason": reason,
            "digest": registry.digest(version),
        }
        draft = Draft(stream="release", subject=version, kind="requested", as_of=as_of, payload=payload)
        ledger.append(draft, after=after)
    return _mirrored(version, ledger, registry)


def _is_requested(version: str, as_of: date, reason: str, entries: Sequence[Entry]) -> bool:
    """Whether that release is on its way, or this very request was made before."""
    mine = [entry for entry in entries if entry.subject == version]
    repeated = any((e.kind, e.as_of, e.payload.get("reason")) == ("requested", as_of, reason) for e in mine)
    return repeated or any(release.is_open for release in releases(mine).values())


def answer_release(
    version: str, *, approved: bool, actor: str, comment: str, as_of: date, ledger: Ledger, registry: Registry
) -> Release:
    """Record who approved or rejected a release, and what they said."""
    to: State = "approved" if approved else "rejected"
    payload: Payload = {"actor": actor, "reason": comment}
    return _move(version, to, as_of, payload, ledger, registry)


def begin_step(version: str, step: StepSpec, *, as_of: date, ledger: Ledger, registry: Registry) -> Release:
    """Let the challenger take part in the traffic as the step says."""
    payload: Payload = {"step": step.name, "share": step.share, "reason": f"{step.share:.0%} of the traffic"}
    return _move(version, "step", as_of, payload, ledger, registry)


def watch_step(version: str, step: StepSpec, *, spec: ReleaseSpec, ledger: Ledger, traffic: TrafficLog) -> GuardReport:
    """Judge a step on the traffic that it has seen so far.

    Raises:
        TransitionError: If the release is not in this step.
    """
    entries = ledger.entries("release")
    release = releases(entries).get(version)
    if release is not None and has_reached(release, "live"):
        return GuardReport(outcome="pass", reasons=("the release is beyond this step",))
    if release is None or release.state != "step" or release.share < step.share:
        where = f"{release.state} {release.step or ''}".strip() if release else "unknown"
        raise TransitionError(f"Release of version {version} is {where!r}, not in step {step.name!r}. Clear that task.")
    arms = traffic.arms(routing(entries))
    champion = arms.get(release.previous or "", ArmTraffic())
    return guard_step(champion, arms.get(version, ArmTraffic()), requests=step.requests, spec=spec)


def go_live(version: str, *, as_of: date, reason: str, ledger: Ledger, registry: Registry) -> Release:
    """Make the version champion; the one before stays loaded until the release is done."""
    return _move(version, "live", as_of, {"reason": reason}, ledger, registry)


def watch_bake(version: str, *, spec: ReleaseSpec, label: LabelSpec, ledger: Ledger, lake: Lake) -> GuardReport:
    """Judge a live version on the labelled days since it went live, against the champion before on the same rows."""
    release = release_of(version, ledger)
    if not has_reached(release, "live"):
        raise TransitionError(f"Release of version {version} is {release.state!r}, not live. It cannot be baked.")
    measured = labelled_days(version, ledger)
    if len(measured) < spec.bake_days:
        text = f"{len(measured)} of {spec.bake_days} labelled days seen"
        return GuardReport(outcome="wait", reasons=(text,))
    if release.previous is None:
        return GuardReport(outcome="pass", reasons=(f"{len(measured)} labelled days, no champion before to compare",))
    return _compare_live(version, release.previous, measured, lake, label.task)


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


def finish_release(version: str, *, as_of: date, reasons: Sequence[str], ledger: Ledger, registry: Registry) -> Release:
    """End a release that has baked."""
    return _move(version, "done", as_of, {"reason": "; ".join(reasons)}, ledger, registry)


def roll_back(version: str, *, as_of: date, actor: str, reason: str, ledger: Ledger, registry: Registry) -> Release:
    """Return to the champion before; for a challenger that is not live yet: take it out of the traffic."""
    return _move(version, "rolled_back", as_of, {"actor": actor, "reason": reason}, ledger, registry)


def _move(version: str, to: State, as_of: date, payload: Payload, ledger: Ledger, registry: Registry) -> Release:
    after = ledger.head("release")
    release = release_of(version, ledger)
    share = payload.get("share", 0.0)
    if not has_reached(release, to, float(share) if isinstance(share, (int, float)) else 0.0):
        check(release, version, to)
        ledger.append(Draft(stream="release", subject=version, kind=to, as_of=as_of, payload=payload), after=after)
    return _mirrored(version, ledger, registry)


def release_of(version: str, ledger: Ledger) -> Release:
    """Where the release of a version stands.

    Raises:
        TransitionError: If it was never requested.
    """
    release = releases(ledger.entries("release")).get(version)
    if release is None:
        raise TransitionError(f"Release of version {version} was never requested. Request it first.")
    return release


def _mirrored(version: str, ledger: Ledger, registry: Registry) -> Release:
    entries = ledger.entries("release")
    route, known = routing(entries), releases(entries)
    release = known[version]
    shadow = route.challenger if route.share == 0 else None
    waiting = next((one.version for one in known.values() if one.state in ("requested", "approved")), route.challenger)
    aliases: dict[Alias, str | None] = {"champion": route.champion, "challenger": waiting, "shadow": shadow}
    registry.mirror(aliases)
    state = release.state if release.step is None else f"{release.state} {release.step}"
    last = [entry for entry in entries if entry.subject == version][-1]
    registry.tag(version, {"trimtab.release": state, "trimtab.release_reason": str(last.payload.get("reason", ""))})
    return release


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
