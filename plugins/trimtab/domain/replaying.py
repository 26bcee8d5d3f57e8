"""Retraining policies that a replay compares, and what each of them came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trimtab.domain.spec import ModelSpec, Section

WEEK_DAYS = 7


class Never(Section):
    """Train once, at the beginning. Verdicts are given, and nobody acts on them."""

    kind: Literal["never"]


class Schedule(Section):
    """Train whenever so many days have passed since the last training."""

    kind: Literal["schedule"]
    days: Annotated[int, Field(ge=1)]


class Verdicts(Section):
    """Train when the section `retrain` of the spec says so about a verdict."""

    kind: Literal["verdicts"]


class PolicySpec(Section):
    """One policy: when to train, whether gate and guards count, and sections of model.yaml that it changes."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    description: str = ""
    act: Annotated[Never | Schedule | Verdicts, Field(discriminator="kind")] = Verdicts(kind="verdicts")
    ask_gate: bool = Field(default=True, description="false: whatever the gate says, the challenger is released.")
    roll_back: bool = Field(default=True, description="false: no step, no baking, no way back; a switch is for good.")
    sections: dict[Literal["train", "gate", "release", "monitor", "retrain"], dict[str, JsonValue]] = Field(
        {}, description="Keys of these sections of model.yaml that are different; the others stay as they are."
    )

    def changed(self, spec: ModelSpec) -> dict[str, Any]:
        """The model's spec under this policy, as a document that is still to be checked."""
        document = spec.model_dump(mode="json", by_alias=True)
        return document | {name: document[name] | values for name, values in self.sections.items()}


POLICIES: Mapping[str, PolicySpec] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            PolicySpec(name="static", description="trained once", act=Never(kind="never")),
            PolicySpec(
                name="weekly",
                description="every 7 days, without gate and rollback",
                act=Schedule(kind="schedule", days=WEEK_DAYS),
                ask_gate=False,
                roll_back=False,
            ),
            PolicySpec(
                name="monthly",
                description="every 28 days, without gate and rollback",
                act=Schedule(kind="schedule", days=4 * WEEK_DAYS),
                ask_gate=False,
                roll_back=False,
            ),
            PolicySpec(
                name="triggered",
                description="as the verdicts say, without gate and rollback",
                ask_gate=False,
                roll_back=False,
            ),
            PolicySpec(name="guarded", description="as the model folder says: verdicts, gate and rollback"),
        )
    }
)
"""Policies that have a name."""
COMPARED = ("static", "monthly", "triggered", "guarded")
"""What is compared if nothing else is asked for."""

EventKind = Literal["retrain", "recalibration", "promotion", "refusal", "rollback", "alarm", "incident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLoss:
    """What was served on a day, against the labels that came."""

    day: date
    rows: int
    """Served predictions that got a label."""
    loss: float
    """Mean loss of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a policy did or met, with the reason that the ledger has."""

    day: date
    kind: EventKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a policy came to."""

    policy: str
    description: str
    loss_name: str
    """What the mean loss is called, such as 'MAE'."""
    days: tuple[DayLoss, ...]
    events: tuple[Event, ...]
    fits: int
    """Candidates trained after the first training."""
    seconds: float
    """Wall clock that its days took, of all tries."""

    @property
    def loss(self) -> float:
        """Mean loss over all rows; nan if there are none."""
        return mean_loss(self.days)

    @property
    def loss_by_month(self) -> Mapping[str, float]:
        """'2013-04': the mean loss over the rows of that month."""
        months = sorted({f"{one.day:%Y-%m}" for one in self.days})
        return {month: mean_loss([one for one in self.days if f"{one.day:%Y-%m}" == month]) for month in months}

    def count(self, kind: EventKind) -> int:
        """How many events of a kind there were."""
        return sum(event.kind == kind for event in self.events)


def mean_loss(days: Sequence[DayLoss]) -> float:
    """Mean over rows of the loss of some days; nan if there are no rows."""
    rows = sum(one.rows for one in days)
    return sum(one.loss * one.rows for one in days) / rows if rows else float("nan")


def trailing_means(days: Sequence[DayLoss], window_days: int = WEEK_DAYS) -> Sequence[tuple[date, float]]:
    """For each day the mean over the rows of the days that end with it, `window_days` of the calendar."""
    return [
        (last.day, mean_loss([one for one in days if last.day - timedelta(days=window_days) < one.day <= last.day]))
        for last in days
    ]


def is_due(day: date, trained: Sequence[date], act: Schedule) -> bool:
    """Whether a scheduled training falls on a day, given the days of the earlier ones."""
    return not trained or (day - max(trained)).days >= act.days
