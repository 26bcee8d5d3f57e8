"""Who decides, the model or a person: levels as they are set, lowered by alarms, and never raised by one."""

import math
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.cli.automation import described
from trimtab.domain.automation import (
    LEVELS,
    Automation,
    automations,
    deciding,
    in_force,
    lowered,
    sureness,
    sureness_for,
)
from trimtab.domain.columns import Columns
from trimtab.domain.journal import Draft
from trimtab.domain.spec import LabelSpec, RowsSpec, SliceSpec
from trimtab.errors import NotFoundError, RequestError
from trimtab.stages.automation import demote_on_alarm, set_level

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

DAY = date(2013, 3, 1)
LATE = LabelSpec(column="arr_delay", task="binary", above=15, threshold=0.3)
ROWS = RowsSpec.model_validate(
    {
        "columns": {"day": "text", "id": "text", "a": "integer"},
        "key": ["id"],
        "event_day": {"kind": "column", "column": "day"},
    }
)
SLICES = (SliceSpec(name="a", column="a"), SliceSpec(name="b", column="b", edges=(10.0,)))
COLUMNS: Columns = {"a": np.array([1.0, 1.0, 2.0, np.nan]), "b": np.array([5.0, 15.0, 15.0, np.nan])}
OF_ROWS = (("a=1", "b=below 10"), ("a=1", "b=10 and more"), ("a=2", "b=10 and more"), ("a=missing", "b=missing"))
levels = st.sampled_from(LEVELS)


@given(
    st.dictionaries(
        st.sampled_from(["all", "gone=1", *{name for names in OF_ROWS for name in names}]),
        st.builds(Automation, level=levels, sureness=st.floats(0, 1)),
    ),
    st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.array),
)
def test_row_is_treated_as_the_most_careful_of_its_slices_asks(
    known: dict[str, Automation], probability: np.ndarray
) -> None:
    found = deciding(known, COLUMNS, SLICES, probability, LATE)
    for place, names in enumerate(OF_ROWS):
        held = [known.get("all", Automation()), *(known[name] for name in names if name in known)]
        assert LEVELS.index(found.levels[place]) == min(LEVELS.index(one.level) for one in held)
        strictest = max((one.sureness for one in held if one.level == "partial"), default=0.0)
        model = {"full": True, "partial": bool(sureness(probability, 0.3)[place] >= strictest)}
        assert found.by_person[place] == (not model.get(found.levels[place], False))


def test_nobody_is_sure_of_a_number_and_nothing_is_in_force_while_the_model_decides_everything() -> None:
    minutes = LabelSpec(column="air_time")
    partial = {"all": Automation(level="partial", sureness=0.5)}
    assert deciding(partial, COLUMNS, SLICES, np.full(4, 150.0), minutes).by_person.all()
    assert in_force({"all": Automation(level="full"), "a=1": Automation(level="full")}) == {}
    assert in_force(partial) == partial


@given(levels)
def test_alarm_lowers_a_level_and_never_raises_it(level: Any) -> None:
    assert LEVELS.index(lowered(level)) == max(LEVELS.index(level) - 1, 0)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=200).map(np.array),
    st.floats(1, 1e4),
    st.floats(0, 1e4),
)
def test_people_get_no_more_than_they_can_review(probabilities: np.ndarray, rows: float, capacity: float) -> None:
    threshold = sureness_for(sureness(probabilities, 0.3), rows_per_day=rows, capacity=capacity)
    partial = {"all": Automation(level="partial", sureness=threshold)}
    handed = np.mean(deciding(partial, {}, (), probabilities, LATE).by_person)
    assert handed * rows <= capacity * (1 + 1e-9) or capacity >= rows
    if capacity >= rows:
        assert threshold == math.inf


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5), st.floats(0.2, 5), st.floats(0.01, 0.99), st.floats(0.05, 0.95))
def test_rows_to_come_are_handed_over_as_the_capacity_says(
    seed: int, a: float, b: float, share: float, threshold: float
) -> None:
    """Whatever the probabilities are like, as long as tomorrow's are like yesterday's."""
    random, label = np.random.default_rng(seed), LATE.model_copy(update={"threshold": threshold})
    recent, coming = random.beta(a, b, (2, 4000))
    needed = sureness_for(sureness(recent, threshold), rows_per_day=1000, capacity=1000 * share)
    partial = {"all": Automation(level="partial", sureness=needed)}
    handed = deciding(partial, {}, (), coming, label).by_person.mean()
    noise = math.sqrt(share * (1 - share) * 2 / 4000)  # of the threshold, and of the rows
    assert abs(handed - share) < 5 * noise + 1 / 4000


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_sureness_is_what_the_better_decision_saves_of_the_cost_at_the_threshold(p: float, threshold: float) -> None:
    cost = min((1 - threshold) * p, threshold * (1 - p))
    assert sureness(np.array([p]), threshold)[0] == pytest.approx(1 - cost / (threshold * (1 - threshold)), abs=1e-9)


CARRIERS = (SliceSpec(name="carrier", column="carrier"), *SLICES)


def unneeded(rows: Columns) -> Columns:
    raise AssertionError("the slice is one of a column")


class Office:
    """Somebody who sets levels."""

    def __init__(self, ledger: "SqlLedger", lake: DeltaLake) -> None:
        self.ledger, self.lake = ledger, lake

    def set(self, level: str, **more: Any) -> Automation:
        arguments = {
            "actor": "ann",
            "reason": "why",
            "as_of": DAY,
            "label": LATE,
            "rows": ROWS,
            "slices": CARRIERS,
            "features": unneeded,
            "part": "online",
            **more,
        }
        return set_level(level, ledger=self.ledger, lake=self.lake, **arguments)

    def verdict(self, kind: str, day: date = DAY) -> None:
        draft = Draft(stream="verdict", subject=str(day), kind=kind, as_of=day, payload={"summary": "errors grew"})
        self.ledger.append(draft, after=self.ledger.head("verdict"))

    def release(self) -> None:
        for kind in ("requested", "approved", "live"):
            draft = Draft(stream="release", subject="1", kind=kind, as_of=DAY, payload={})
            self.ledger.append(draft, after=self.ledger.head("release"))

    def handed(self, automation: Automation, predictions: pd.Series) -> int:
        """Rows that people get."""
        values = predictions.to_numpy(dtype=np.float64)
        return int(deciding({"all": automation}, {}, (), values, LATE).by_person.sum())

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
    office.release()
    with pytest.raises(NotFoundError, match="says how sure the model is"):
        office.set("partial", capacity=20)
    predicted = pd.DataFrame({"_key": [str(n) for n in range(100)], "version": "1", "prediction": np.arange(100) / 198})
    office.lake.write("predictions", DAY, predicted, part="batch")
    automation = office.set("partial", capacity=20)
    assert office.handed(automation, predicted["prediction"]) == 20, "while there is no traffic, batches count"
    days = pd.DataFrame({**predicted, "prediction": np.arange(100) / 100, "_day": str(DAY), "served": True})
    office.lake.append("predictions", days, "online", log="a", number=1)
    assert office.handed(office.set("partial", capacity=30), days["prediction"]) == 30


def test_partial_of_a_slice_takes_its_threshold_from_the_rows_of_the_slice(office: Office) -> None:
    office.release()
    keys = [str(n) for n in range(100)]
    predicted = pd.DataFrame({"_key": keys, "version": "1", "prediction": np.arange(100) / 100})
    office.lake.write("predictions", DAY, predicted, part="batch")
    rows = pd.DataFrame({"_key": keys, "day": str(DAY), "id": keys, "a": [1.0] * 40 + [2.0] * 60})
    office.lake.write("batches", DAY, rows)
    automation = office.set("partial", capacity=10, of="a=2")
    assert office.handed(automation, predicted["prediction"][40:]) == 10
    by_feature = office.set("partial", capacity=6, of="b=10 and more", features=lambda rows: {"b": rows["a"] * 6})
    assert office.handed(by_feature, predicted["prediction"][40:]) == 6
    with pytest.raises(NotFoundError, match="No row of slice 'a=3' was predicted lately"):
        office.set("partial", capacity=10, of="a=3")


def test_what_cannot_be_set_says_what_can(office: Office) -> None:
    with pytest.raises(RequestError, match=r"^There is no level 'most'\. There are: human, shadow, assist, partial"):
        office.set("most")
    with pytest.raises(
        RequestError, match=r"^There is no slice 'airline=UA'. Slices of model.yaml: one of 'carrier', "
    ):
        office.set("assist", of="airline=UA")
    with pytest.raises(RequestError, match=r"^There is no slice 'carrier'"):
        office.set("assist", of="carrier")
    for impossible in ({"label": LabelSpec(column="air_time"), "capacity": 5}, {"capacity": None}):
        with pytest.raises(RequestError, match="Level 'partial' needs a binary label"):
            office.set("partial", **impossible)
