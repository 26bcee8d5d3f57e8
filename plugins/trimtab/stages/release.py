"""Move a release from request to done, or back. The ledger decides; the registry's aliases mirror it.

Every function may be called again: a transition that has been made is not made twice, and the aliases are mirrored
each time, so that a process killed in between leaves nothing that the next call does not mend.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Literal

from trimtab.domain.guards import GuardReport, Quality, judge_step, waived
from trimtab.domain.journal import Draft, Entry, JsonValue, Ledger, Payload
from trimtab.domain.ports import Alias, Lake, Registry, TrafficLog
from trimtab.domain.release import GUARD, Kind, Release, State, check, has_reached, known_release, releases, routing
from trimtab.domain.spec import LabelSpec, ReleaseSpec, RowsSpec, StepSpec
from trimtab.errors import LedgerConflictError, TransitionError
from trimtab.stages.bake import watch_bake
from trimtab.stages.golden import GOLDEN, GoldenResult, compare_golden, golden_rows
from trimtab.stages.step_evidence import ended_step, step_evidence, step_quality


def business_day(lake: Lake, at_least: date) -> date:
    """The day in the model's own time: the last one with an accepted batch."""
    return max([at_least, *lake.days("batches")[-1:]])


def request_release(
    version: str,
    *,
    as_of: date,
    reason: str,
    ledger: Ledger,
    registry: Registry,
    second: Literal["wait", "replace"] = "wait",
) -> Release:
    """Ask for a version to become champion; the same request again, for the same day and reason, changes nothing.

    Args:
        version: The version.
        as_of: Day in the model's own time.
        reason: Why.
        ledger: Journal of the model.
        registry: Where the version is.
        second: Whether a release that is on its way, and not live yet, is sent back for this one.

    Raises:
        TransitionError: If another release is on its way, or the version is the champion.
    """
    entries = ledger.entries("release")
    if not _is_requested(version, as_of, reason, entries):
        if routing(entries).champion == version:
            raise TransitionError(f"Version {version} is the champion already. There is nothing to release.")
        if (other := in_the_way(version, ledger)) is not None:
            if second == "wait" or other.state == "live":
                raise TransitionError(
                    f"Release of version {version} cannot begin while that of version {other.version} is on its way. "
                    "Wait for it to end, or roll it back."
                )
            words = f"replaced by version {version}: {reason}"
            roll_back(other.version, as_of=as_of, actor=GUARD, reason=words, ledger=ledger, registry=registry)
        _request(version, as_of, reason, ledger, registry)
    return _mirrored(version, ledger, registry)


def in_the_way(version: str, ledger: Ledger) -> Release | None:
    """The release of another version that is on its way."""
    known = releases(ledger.entries("release")).values()
    return next((release for release in known if release.is_open and release.version != version), None)


def _request(version: str, as_of: date, reason: str, ledger: Ledger, registry: Registry) -> None:
    after = ledger.head("release")
    entries = ledger.entries("release")
    if any(release.is_open for release in releases(entries).values()):
        raise LedgerConflictError(f"Another release began while that of version {version} was asked for. Ask again.")
    payload: Payload = {
        "previous": routing(entries).champion,
        "reason": reason,
        "digest": registry.digest(version),
    }
    draft = Draft(stream="release", subject=version, kind="requested", as_of=as_of, payload=payload)
    ledger.append(draft, after=after)


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


def has_begun(version: str, step: StepSpec, ledger: Ledger) -> bool:
    """Whether a release is in this step, or beyond it."""
    return has_reached(release_of(version, ledger), "step", step.share)


def begin_step(
    version: str,
    step: StepSpec,
    *,
    as_of: date,
    ledger: Ledger,
    registry: Registry,
    traffic: TrafficLog,
    measured: Mapping[str, JsonValue] | None = None,
) -> Release:
    """Let the challenger take part in the traffic as the step says; what the step before has shown is kept.

    `measured` is what `measure_memory` has found.
    """
    after = ledger.head("release")
    entries = ledger.entries("release")
    release = known_release(version, entries)
    payload: Payload = {
        "step": step.name,
        "share": step.share,
        "reason": f"{step.share:.0%} of the traffic",
        **ended_step(release, entries, traffic),
        **(measured or {}),
    }
    return _move(version, "step", as_of, payload, ledger, registry, after=after)


def watch_step(
    version: str, step: StepSpec, *, spec: ReleaseSpec, ledger: Ledger, traffic: TrafficLog, quality: Quality
) -> GuardReport:
    """Judge a step on the evidence so far. One that somebody holds can trip, and waits otherwise.

    Raises:
        TransitionError: If the release is not in this step.
    """
    entries = ledger.entries("release")
    release = known_release(version, entries)
    if has_reached(release, "live"):
        return GuardReport(outcome="pass", reasons=("the release is beyond this step",))
    if release.state != "step" or release.share < step.share:
        raise TransitionError(_not_in(release, step, entries))
    report = waived(release, judge_step(step_evidence(release, entries, traffic, quality), step, spec))
    if report.outcome != "trip" and release.held_by not in (None, GUARD):
        return GuardReport(outcome="wait", reasons=(f"held by {release.held_by}: {_last_reason(release, entries)}",))
    return report


def watch_present(
    *, spec: ReleaseSpec, label: LabelSpec, ledger: Ledger, traffic: TrafficLog, lake: Lake
) -> GuardReport | None:
    """What guards say about the step that a release is in, or labels about one that is live; None: there is neither."""
    known = releases(ledger.entries("release")).values()
    release = next((release for release in known if release.state in ("step", "live")), None)
    if release is not None and release.state == "live":
        return watch_bake(release.version, spec=spec, label=label, ledger=ledger, lake=lake)
    step = next((step for step in spec.steps if release and step.name == release.step), None)
    if release is None or step is None:
        return None
    quality = step_quality(release.version, ledger=ledger, lake=lake, label=label)
    return watch_step(release.version, step, spec=spec, ledger=ledger, traffic=traffic, quality=quality)


def _not_in(release: Release, step: StepSpec, entries: Sequence[Entry]) -> str:
    if not release.is_open:
        return f"Release of version {release.version} has ended: {release.state}, {_last_reason(release, entries)}."
    where = f"{release.state} {release.step or ''}".strip()
    return f"Release of version {release.version} is {where!r}, not in step {step.name!r}. Clear that task."


def _last_reason(release: Release, entries: Sequence[Entry]) -> str:
    last = next(entry for entry in entries if entry.sequence == release.sequence)
    return str(last.payload.get("reason", "no reason given"))


def hold_release(version: str, *, as_of: date, actor: str, reason: str, ledger: Ledger, registry: Registry) -> Release:
    """Leave a release where it is, with its share of the traffic, until it is resumed or rolled back."""
    return _move(version, "held", as_of, {"actor": actor, "reason": reason}, ledger, registry)


def resume_release(
    version: str, *, as_of: date, actor: str, reason: str, ledger: Ledger, registry: Registry
) -> Release:
    """Let a release that is held go on."""
    return _move(version, "resumed", as_of, {"actor": actor, "reason": reason}, ledger, registry)


def go_live(
    version: str,
    *,
    as_of: date,
    reason: str,
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    rows: RowsSpec,
    traffic: TrafficLog | None = None,
) -> Release:
    """Make the version champion; the one before stays loaded until the release is done.

    What it predicts for some rows is kept, so that going back to it can be checked, and what the last step has shown in
    the traffic, if there was one.
    """
    release = release_of(version, ledger)
    if has_reached(release, "live"):
        return _mirrored(version, ledger, registry)
    golden = golden_rows(version, release.digest, lake=lake, registry=registry, rows=rows)
    payload: Payload = {"reason": reason, GOLDEN: golden, **_shown(version, ledger, traffic)}
    return _move(version, "live", as_of, payload, ledger, registry)


def _shown(version: str, ledger: Ledger, traffic: TrafficLog | None) -> Payload:
    entries = ledger.entries("release")
    return {} if traffic is None else {**ended_step(known_release(version, entries), entries, traffic)}


def finish_release(version: str, *, as_of: date, reasons: Sequence[str], ledger: Ledger, registry: Registry) -> Release:
    """End a release that has baked."""
    return _move(version, "done", as_of, {"reason": "; ".join(reasons)}, ledger, registry)


def roll_back(
    version: str,
    *,
    as_of: date,
    actor: str,
    reason: str,
    ledger: Ledger,
    registry: Registry,
    traffic: TrafficLog | None = None,
) -> Release:
    """Return to the champion before; for a challenger that is not live yet: take it out of the traffic.

    One entry brings back model, feature code, decision threshold, schema and drift reference: all are in the package of
    the version that is champion then. `verify_rollback` shows it.
    """
    payload: Payload = {"actor": actor, "reason": reason, **_shown(version, ledger, traffic)}
    return _move(version, "rolled_back", as_of, payload, ledger, registry)


def verify_rollback(
    version: str,
    *,
    as_of: date,
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    rows: RowsSpec,
    clock: Callable[[], datetime],
) -> GoldenResult | None:
    """Compare the golden rows of the champion that a rollback has led to, and record the time since the rollback.

    Returns:
        What was compared; None if no version is live any more.

    Raises:
        ModelIntegrityError: If its package is not the one that was released.
    """
    entries = ledger.entries("release")
    champion = routing(entries).champion
    back = [entry for entry in entries if entry.subject == version and entry.kind == "rolled_back"]
    if champion is None or not back:
        return None
    found = compare_golden(champion, ledger=ledger, lake=lake, registry=registry, rows=rows)
    if not any(e.kind == "verified" and e.subject == version and e.sequence > back[-1].sequence for e in entries):
        seconds = (clock() - back[-1].recorded_at).total_seconds()
        payload: Payload = {
            "champion": champion,
            "rows": found.rows,
            "agree": found.agree,
            "seconds": round(seconds, 2),
            "reason": f"{found.sentence}, checked {seconds:.1f} s after the rollback",
        }
        draft = Draft(stream="release", subject=version, kind="verified", as_of=as_of, payload=payload)
        ledger.append(draft, after=entries[-1].sequence)
    return found


def _move(
    version: str,
    to: Kind,
    as_of: date,
    payload: Payload,
    ledger: Ledger,
    registry: Registry,
    *,
    after: int | None = None,
) -> Release:
    after = ledger.head("release") if after is None else after
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
    return known_release(version, ledger.entries("release"))


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
