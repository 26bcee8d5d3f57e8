"""A release as a state machine over ledger entries, and the routing of traffic that follows from it.

requested -> approved -> step (shadow, canary ...) -> live -> done, and from each of them -> rejected or
rolled_back. A version whose release has ended may be requested again, which begins a new release of it. The entries
are the truth; state and routing are folds over them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from trimtab.domain.journal import Entry, JsonValue
from trimtab.domain.spec import ReleaseSpec
from trimtab.errors import TransitionError

State = Literal["requested", "approved", "step", "live", "done", "rejected", "rolled_back"]
Arm = Literal["champion", "challenger"]

ALLOWED: dict[State, tuple[State, ...]] = {
    "requested": ("approved", "rejected"),
    "approved": ("step", "live", "rolled_back"),
    "step": ("step", "live", "rolled_back"),
    "live": ("done", "rolled_back"),
    "done": ("rolled_back",),
    "rejected": (),
    "rolled_back": (),
}
OPEN: tuple[State, ...] = ("requested", "approved", "step", "live")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Where one release stands."""

    version: str
    """The version that wants to become champion; it names the release."""
    previous: str | None
    """The champion that it replaces; None for the first release of a model."""
    digest: str | None = None
    """SHA-256 of the package that was asked for; None in a request that was made before it was recorded."""
    state: State
    step: str | None = None
    share: float = 0.0
    sequence: int = 0
    """Ledger sequence of the last transition."""

    @property
    def is_open(self) -> bool:
        """Whether it is still on its way."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which versions answer. A request goes to the challenger if its key falls into the share."""

    sequence: int
    """Ledger sequence that this routing follows from; stamped on every prediction."""
    champion: str | None
    challenger: str | None = None
    """The version in shadow or canary."""
    previous: str | None = None
    """The champion before, kept loaded while the new one bakes."""
    share: float = 0.0
    digests: Mapping[str, str | None] = field(default_factory=dict, compare=False)
    """SHA-256 of the package of each of these versions, as it was when its release was requested."""

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions that must be loaded."""
        return tuple(version for version in (self.champion, self.challenger, self.previous) if version)

    def arm(self, key: str) -> Arm:
        """The arm for a request key: the same for the same key as long as the share does not change."""
        return "challenger" if self.challenger and unit_interval(key) < self.share else "champion"


def unit_interval(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key."""
    return (int.from_bytes(blake2b(key.encode(), digest_size=7).digest()) >> 3) / 2**53  # 53 bits: never rounds to 1


def releases(entries: Iterable[Entry]) -> dict[str, Release]:
    """Fold the release stream into the state of each version's last release, in the order of their requests."""
    folded: dict[str, Release] = {}
    for entry in entries:
        before = folded.pop(entry.subject, None) if entry.kind == "requested" else folded.get(entry.subject)
        folded[entry.subject] = _advance(before, entry)
    return folded


def champions(entries: Iterable[Entry]) -> list[str]:
    """Versions that have gone live and were not rolled back, in that order: the last one is the champion."""
    live: list[str] = []
    states: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "live":
            live.append(entry.subject)
        elif entry.kind == "rolled_back" and states.get(entry.subject) in ("live", "done"):
            del live[len(live) - 1 - live[::-1].index(entry.subject)]
        states[entry.subject] = entry.kind
    return live


def _advance(release: Release | None, entry: Entry) -> Release:
    payload = entry.payload
    if release is None or entry.kind == "requested":
        return Release(
            version=entry.subject,
            previous=_text(payload.get("previous")),
            digest=_text(payload.get("digest")),
            state="requested",
            sequence=entry.sequence,
        )
    state: State = entry.kind  # type: ignore[assignment]  # the ledger holds what `check` let through
    share = payload.get("share", 0.0)
    return replace(
        release,
        state=state,
        step=_text(payload.get("step")),
        share=float(share) if isinstance(share, (int, float)) else 0.0,
        sequence=entry.sequence,
    )


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def routing(entries: Sequence[Entry]) -> Routing:
    """Which versions answer after these entries of the release stream."""
    known = releases(entries)
    champion = next(reversed(champions(entries)), None)
    baking = champion is not None and known[champion].state == "live"
    on_trial = (release for release in known.values() if release.state == "step" and release.version != champion)
    challenger = next(on_trial, None)
    route = Routing(
        sequence=entries[-1].sequence if entries else 0,
        champion=champion,
        challenger=challenger.version if challenger else None,
        previous=known[champion].previous if champion is not None and baking else None,
        share=challenger.share if challenger else 0.0,
    )
    return replace(route, digests={version: known[version].digest for version in route.versions})


def check(release: Release | None, version: str, to: State) -> None:
    """Refuse a transition that the state machine does not have.

    Raises:
        TransitionError: Naming the state, the wish and what is allowed.
    """
    if release is None:
        raise TransitionError(f"Release of version {version} was never requested. Request it before the step {to!r}.")
    if to not in ALLOWED[release.state]:
        allowed = ", ".join(map(repr, ALLOWED[release.state])) or "nothing: it has ended"
        raise TransitionError(
            f"Release of version {version} is {release.state!r} and cannot become {to!r}. It can become {allowed}."
        )


PROGRESS: tuple[State, ...] = ("requested", "approved", "step", "live", "done")


def has_reached(release: Release, to: State, share: float = 0.0) -> bool:
    """Whether the release has made this transition, or is beyond it, so that asking again changes nothing."""
    if release.state == to:
        return to != "step" or release.share >= share
    if release.state not in PROGRESS or to not in PROGRESS:
        return False
    return PROGRESS.index(release.state) > PROGRESS.index(to)


Outcome = Literal["pass", "trip", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTraffic:
    """What one version did on the live traffic of one routing."""

    requests: int = 0
    failures: int = 0
    """Requests that ended in an exception or in a prediction that is not a finite number."""
    latency_ms_p50: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """What the guards of a step say about its evidence."""

    outcome: Outcome
    reasons: tuple[str, ...]


def guard_step(champion: ArmTraffic, challenger: ArmTraffic, *, requests: int, spec: ReleaseSpec) -> GuardReport:
    """Judge a step: trip on any failure or on slowness, wait while requests are missing, else pass.

    Args:
        champion: Traffic of the present version during this step.
        challenger: Traffic of the version under test during this step.
        requests: Requests that the challenger must have predicted.
        spec: Limits.
    """
    if challenger.failures > 0:
        return GuardReport(
            outcome="trip",
            reasons=(f"{challenger.failures} of {challenger.requests} requests failed on the challenger; 0 may",),
        )
    if challenger.requests < requests:
        missing = requests - challenger.requests
        return GuardReport(
            outcome="wait", reasons=(f"{challenger.requests} of {requests} requests seen, {missing} more are needed",)
        )
    if champion.requests == 0:
        return GuardReport(outcome="wait", reasons=("no request of the champion to compare latency with",))
    ratio = challenger.latency_ms_p50 / champion.latency_ms_p50
    latency = (
        f"median latency {challenger.latency_ms_p50:.2f} ms against {champion.latency_ms_p50:.2f} ms "
        f"({ratio:.2f} x, {spec.max_latency_ratio:g} x allowed)"
    )
    figures = (f"{challenger.requests} requests, no failure", latency)
    return GuardReport(outcome="pass" if ratio <= spec.max_latency_ratio else "trip", reasons=figures)
