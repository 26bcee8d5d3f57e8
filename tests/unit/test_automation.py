"""Who decides, the model or a person: levels as they are set, lowered by alarms, and never raised by one."""

import math
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.cli.automation import described
from trimtab.domain.automation import (
    LEVELS,
    Automation,
    automation_of,
    automations,
    decides,
    lowered,
    sureness,
    sureness_for,
)
from trimtab.domain.journal import Draft
from trimtab.errors import NotFoundError, RequestError
from trimtab.stages.automation import demote_on_alarm, set_level

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

DAY = date(2013, 3, 1)
levels = st.sampled_from(LEVELS)


@given(st.dictionaries(st.sampled_from(["all", "a=1", "b=2"]), st.builds(Automation, level=levels)))
def test_row_is_treated_as_the_most_careful_of_its_slices_asks(known: dict[str, Automation]) -> None:
    found = automation_of(["a=1", "b=2"], known)
    everything = {"all": Automation(), **known}
    assert LEVELS.index(found.level) == min(LEVELS.index(one.level) for one in everything.values())
    assert automation_of([], known) == everything["all"]


@given(levels)
def test_alarm_lowers_a_level_and_never_raises_it(level: Any) -> None:
    assert LEVELS.index(lowered(level)) == max(LEVELS.index(level) - 1, 0)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=200).map(np.array),
    st.floats(1, 1e4),
    st.floats(0, 1e4),
)
def test_people_get_no_more_than_they_can_review(probabilities: np.ndarray, rows: float, capacity: float) -> None:
    sure = sureness(probabilities)
    threshold = sureness_for(sure, rows_per_day=rows, capacity=capacity)
    partial = Automation(level="partial", sureness=threshold)
    handed = np.mean([not decides(partial, float(one)) for one in sure])
    assert handed * rows <= capacity * (1 + 1e-9) or capacity >= rows
    if capacity >= rows:
        assert threshold == math.inf


def test_only_full_and_sure_enough_partial_let_the_model_decide() -> None:
    assert {level: decides(Automation(level=level, sureness=0.5), 0.7) for level in LEVELS} == {
        "human": False,
        "shadow": False,
        "assist": False,
        "partial": True,
        "full": True,
    }
    assert not decides(Automation(level="partial", sureness=0.8), 0.7)


class Office:
    """Somebody who sets levels."""

    def __init__(self, ledger: "SqlLedger", lake: DeltaLake) -> None:
        self.ledger, self.lake = ledger, lake

    def set(self, level: str, **more: Any) -> Automation:
        arguments = {"actor": "ann", "reason": "why", "as_of": DAY, "task": "binary", **more}
        return set_level(level, ledger=self.ledger, lake=self.lake, **arguments)

    def verdict(self, kind: str, day: date = DAY) -> None:
        draft = Draft(stream="verdict", subject=str(day), kind=kind, as_of=day, payload={"summary": "errors grew"})
        self.ledger.append(draft, after=self.ledger.head("verdict"))

    @property
    def levels(self) -> dict[str, str]:
        return {name: one.level for name, one in automations(self.ledger.entries("automation")).items()}


@pytest.fixture
def office(ledger: "SqlLedger", tmp_path: Path) -> Office:
    return Office(ledger, DeltaLake(str(tmp_path), "flight_late"))


def test_level_is_recorded_once_with_who_and_why(office: Office) -> None:
    for _ in range(2):
        office.set("assist", of="carrier=UA")
    (entry,) = office.ledger.entries("automation")
    assert (entry.subject, entry.kind) == ("carrier=UA", "set")
    assert entry.payload == {"level": "assist", "actor": "ann", "reason": "why"}
    assert described(automations([entry])) == (
        "all: full, by nobody: nobody has set a level\ncarrier=UA: assist, by ann: why"
    )


def test_alarm_lowers_every_level_once_and_a_quiet_day_none(office: Office) -> None:
    office.verdict("decay", date(2013, 2, 28))
    assert demote_on_alarm(date(2013, 2, 28), ledger=office.ledger) == [], "nobody has set a level"
    office.set("full")
    office.set("human", of="carrier=UA")
    office.set("assist", of="carrier=DL")
    office.verdict("drift")
    assert demote_on_alarm(DAY, ledger=office.ledger) == []
    office.verdict("decay")
    assert demote_on_alarm(DAY, ledger=office.ledger) == ["all", "carrier=DL"]
    assert demote_on_alarm(DAY, ledger=office.ledger) == []
    assert office.levels == {"carrier=UA": "human", "carrier=DL": "shadow", "all": "assist"}
    last = office.ledger.entries("automation", "all")[-1]
    assert (last.kind, last.payload["actor"]) == ("demoted", "guard")
    assert last.payload["reason"] == "alarm of 2013-03-01: errors grew"


def test_partial_takes_its_threshold_from_what_people_can_review(office: Office) -> None:
    live = Draft(stream="release", subject="1", kind="requested", as_of=DAY, payload={})
    for kind in ("requested", "approved", "live"):
        office.ledger.append(
            Draft(**{**{name: getattr(live, name) for name in Draft.__dataclass_fields__}, "kind": kind}),
            after=office.ledger.head("release"),
        )
    with pytest.raises(NotFoundError, match="says how sure the model is"):
        office.set("partial", capacity=20)
    predicted = pd.DataFrame({"_key": [str(n) for n in range(100)], "version": "1", "prediction": np.arange(100) / 198})
    office.lake.write("predictions", DAY, predicted, part="batch")
    automation = office.set("partial", capacity=20)
    handed = sum(not decides(automation, float(one)) for one in sureness(predicted["prediction"].to_numpy()))
    assert handed == 20


def test_what_cannot_be_set_says_what_can(office: Office) -> None:
    with pytest.raises(RequestError, match=r"^There is no level 'most'\. There are: human, shadow, assist, partial"):
        office.set("most")
    for impossible in ({"task": "regression", "capacity": 5}, {"capacity": None}):
        with pytest.raises(RequestError, match="Level 'partial' needs a binary label"):
            office.set("partial", **impossible)
