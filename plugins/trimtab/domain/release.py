"""A release as a state machine over ledger entries, and the routing of traffic that follows from it.

requested -> approved -> step (shadow, canary ...) -> live -> done, and from each of them -> rejected or
rolled_back. A release that is held stays where it is, with its share of the traffic, until it is resumed or rolled
back. A version whose release has ended may be requested again, which begins a new release of it. The entries are the
truth; state and routing are folds over them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from trimtab.domain.journal import Entry, JsonValue
from trimtab.errors import TransitionError

State = Literal["requested", "approved", "step", "live", "done", "rejected", "rolled_back"]
Kind = Literal[State, "held", "resumed", "verified"]
"""What an entry of the release stream says. `verified`: golden predictions were compared after a rollback."""
GUARD = "guard"
"""Who acts when nobody does."""
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
HOLDABLE: tuple[State, ...] = ("approved", "step", "live")


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
    held_by: str | None = None
    """Who holds it where it is; None: nobody."""
    waived_by: str | None = None
    """Who lets it go on without the evidence for want of which a guard held it; None: nobody."""
    began: int = 0
    """Ledger sequence at which its present step began, or it went live."""

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
        if entry.kind in ALLOWED:
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
            began=entry.sequence,
        )
    if entry.kind == "held":
        return replace(release, held_by=str(payload.get("actor")), waived_by=None, sequence=entry.sequence)
    if entry.kind == "resumed":
        actor = str(payload.get("actor"))
        waiver = actor if release.held_by == GUARD != actor else None
        return replace(release, held_by=None, waived_by=waiver, sequence=entry.sequence)
    if entry.kind == "verified":
        return release
    state: State = entry.kind  # type: ignore[assignment]  # the ledger holds what `check` let through
    share = payload.get("share", 0.0)
    return replace(
        release,
        state=state,
        step=_text(payload.get("step")),
        share=float(share) if isinstance(share, (int, float)) else 0.0,
        sequence=entry.sequence,
        began=entry.sequence,
        held_by=None,
        waived_by=None,
    )


def known_release(version: str, entries: Iterable[Entry]) -> Release:
    """Where the release of a version stands.

    Raises:
        TransitionError: If it was never requested.
    """
    release = releases(entries).get(version)
    if release is None:
        raise TransitionError(f"Release of version {version} was never requested. Request it first.")
    return release


def own_entries(release: Release, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries of this release of a version, and not of one before."""
    mine = [entry for entry in entries if entry.subject == release.version]
    requests = [position for position, entry in enumerate(mine) if entry.kind == "requested"]
    return mine[requests[-1] :]


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def routing(entries: Sequence[Entry]) -> Routing:
    """Which versions answer after these entries of the release stream.

    Its sequence is that of the entry which made it so, or began the step of the challenger: an entry that changes no
    traffic, such as that of a hold, does not begin the evidence anew.
    """
    newest, made = _route(entries), len(entries)
    while made and _route(entries[: made - 1]) == newest:
        made -= 1
    return replace(newest, sequence=entries[made - 1].sequence if made else 0)


def _route(entries: Sequence[Entry]) -> Routing:
    """The routing with no sequence but that of the challenger's step."""
    known = releases(entries)
    champion = next(reversed(champions(entries)), None)
    baking = champion is not None and known[champion].state == "live"
    on_trial = (release for release in known.values() if release.state == "step" and release.version != champion)
    challenger = next(on_trial, None)
    route = Routing(
        sequence=challenger.began if challenger else 0,
        champion=champion,
        challenger=challenger.version if challenger else None,
        previous=known[champion].previous if champion is not None and baking else None,
        share=challenger.share if challenger else 0.0,
    )
    return replace(route, digests={version: known[version].digest for version in route.versions})


def check(release: Release | None, version: str, to: Kind) -> None:
    """Refuse a transition that the state machine does not have.

    Raises:
        TransitionError: Naming the state, the wish and what is allowed.
    """
    if release is None:
        raise TransitionError(f"Release of version {version} was never requested. Request it before the step {to!r}.")
    if to not in allowed(release):
        words = ", ".join(map(repr, allowed(release))) or "nothing: it has ended"
        state = f"held at {release.state!r} by {release.held_by}" if release.held_by else repr(release.state)
        raise TransitionError(
            f"Release of version {version} is {state} and cannot become {to!r}. It can become {words}."
        )


def allowed(release: Release) -> tuple[Kind, ...]:
    """What the next entry about a release may say, apart from a new request."""
    if release.held_by is not None:
        return ("resumed", "rolled_back")
    if release.state in HOLDABLE:
        return (*ALLOWED[release.state], "held")
    return ALLOWED[release.state]


PROGRESS: tuple[State, ...] = ("requested", "approved", "step", "live", "done")


def has_reached(release: Release, to: Kind, share: float = 0.0) -> bool:
    """Whether the release has made this transition, or is beyond it, so that asking again changes nothing."""
    if to in ("held", "resumed"):
        return (release.held_by is not None) == (to == "held")
    if release.state == to:
        return to != "step" or release.share >= share
    if release.state not in PROGRESS or to not in PROGRESS:
        return False
    return PROGRESS.index(release.state) > PROGRESS.index(to)
