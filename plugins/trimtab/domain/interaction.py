"""How users take to the answers of a version: what share of them they retry, correct, override or click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from trimtab.domain.journal import Entry, JsonValue

InteractionKind: TypeAlias = Literal["correction", "override", "retry", "click"]
OutcomeKind: TypeAlias = Literal["label", "decision", "correction", "override", "retry", "click"]
OUTCOME_KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)
INTERACTION_KINDS: tuple[InteractionKind, ...] = ("correction", "override", "retry", "click")
FIELD = "interaction"
"""Where a version's interactions stand in a feedback entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """What users did with the answered rows of one version. An outcome of a whole request is one of each row."""

    rows: int = 0
    """Rows that the version has answered."""
    correction: int = 0
    """Rows with at least one correction; so for the others."""
    override: int = 0
    retry: int = 0
    click: int = 0

    def rate(self, kind: InteractionKind) -> float:
        """Share of the answered rows, 0 to 1; nan if there is none."""
        count: int = getattr(self, kind)
        return count / self.rows if self.rows else float("nan")

    def __add__(self, other: Interaction) -> Interaction:
        """Both together, of different days."""
        return Interaction(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})


_NAMES = ("rows", *INTERACTION_KINDS)


def interactions_since(entries: Sequence[Entry], first: str) -> Mapping[str, Interaction]:
    """By version, what users did with its answers for rows of the days from `first` (ISO) on.

    Args:
        entries: Of the stream `feedback`, in order; of several about a day the last one counts.
        first: A day before which nothing counts: that on which a step of a release began, say.
    """
    found: dict[str, Interaction] = {}
    for day, entry in {entry.subject: entry for entry in entries}.items():
        for version, values in entry.payload.items():
            if day >= first and isinstance(values, dict) and FIELD in values:
                found[version] = found.get(version, Interaction()) + _parsed(values[FIELD])
    return found


def _parsed(content: JsonValue) -> Interaction:
    counts = content if isinstance(content, dict) else {}
    return Interaction(
        **{name: value for name in _NAMES if isinstance(value := counts.get(name), int)}  # absent where it was 0
    )
