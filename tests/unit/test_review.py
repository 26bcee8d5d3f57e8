"""Cases that people decide: which wait, and how far people and model agree."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.outcome_log import FileOutcomeLog, Outcome, OutcomeWriter
from trimtab.adapters.sql_ledger import open_engine
from trimtab.adapters.traffic_log import FileTrafficLog, PredictedRow, TrafficWriter
from trimtab.cli import review
from trimtab.cli.automation import described
from trimtab.cli.main import app
from trimtab.domain.explanation import FeatureEffect
from trimtab.domain.spec import LabelSpec
from trimtab.stages.collect import collect
from trimtab.stages.review import Agreement, agreements, referred, waiting

LATE = LabelSpec(column="arr_delay", task="binary", above=15, threshold=0.3)
MINUTES = LabelSpec(column="air_time")
MODELS = Path(__file__).parents[2] / "include" / "models"
EFFECT = FeatureEffect(feature="distance", value=500.0, typical=900.0, effect=-0.25)
ROW = PredictedRow(
    request_id="r",
    key="k",
    day="2013-01-05",
    version="1",
    arm="champion",
    served=True,
    route=7,
    prediction=0.4,
    error=None,
    latency_ms=1.0,
    features={"distance": 500.0},
    decided_by="person",
    level="assist",
    effects=(EFFECT,),
)


class Desk:
    """A service's logs, a lake, and a clock that goes on."""

    def __init__(self, path: Path) -> None:
        self.minute = 0
        self.traffic, self.lake = path / "traffic", DeltaLake(str(path / "lake"), "m")
        self.logs = (FileTrafficLog(self.traffic, "m"), FileOutcomeLog(self.traffic, "m"))

    def clock(self) -> datetime:
        self.minute += 1
        return datetime(2026, 1, 2, 3, self.minute, tzinfo=UTC)

    def predicted(self, *rows: PredictedRow) -> None:
        writer = TrafficWriter(self.traffic, "m", "w", self.clock)
        writer.write(rows)
        writer.close()

    def decided(self, request_id: str, value: float, row: int | None = 0, name: str = "") -> None:
        writer = OutcomeWriter(self.traffic, "m", "w", self.clock)
        writer.write([Outcome(request_id=request_id, row=row, kind="decision", value=value, feedback_id=name)])
        writer.close()

    def collect(self) -> None:
        collect(logs=self.logs, lake=self.lake)

    @property
    def ids(self) -> list[tuple[str, int]]:
        return [(case.request_id, case.row) for case in waiting(lake=self.lake, logs=self.logs, part="online")]

    def agreed(self, label: LabelSpec) -> Sequence[Agreement]:
        return agreements(referred(lake=self.lake, logs=self.logs, part="online"), label)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_nothing_waits_where_nothing_was_predicted_or_people_decide_nothing(desk: Desk) -> None:
    assert desk.ids == []
    desk.predicted(replace(ROW, decided_by="model", level="full", effects=()))
    assert desk.ids == []
    assert desk.agreed(LATE) == []
    desk.collect()
    assert desk.ids == []


def test_what_was_left_to_people_waits_from_the_answer_until_it_is_decided_whether_it_is_in_the_lake_or_not(
    desk: Desk,
) -> None:
    desk.predicted(replace(ROW, request_id="second", row=1), replace(ROW, request_id="second", row=0, key="other"))
    desk.predicted(replace(ROW, request_id="third"))
    desk.predicted(replace(ROW, request_id="a-shadow", arm="shadow", served=False))
    expected = [("second", 0), ("second", 1), ("third", 0)]
    assert desk.ids == expected
    desk.collect()
    assert desk.ids == expected
    desk.decided("third", 1)
    desk.decided("unknown", 1)
    assert desk.ids == expected[:2]
    desk.collect()
    assert desk.ids == expected[:2]
    desk.decided("second", 0, row=None)
    assert desk.ids == []


def test_row_that_was_asked_about_again_waits_once(desk: Desk) -> None:
    desk.predicted(ROW)
    desk.collect()
    desk.predicted(ROW)
    assert desk.ids == [("r", 0)]


def test_case_says_what_is_known_and_nothing_that_would_influence(desk: Desk) -> None:
    desk.predicted(ROW, replace(ROW, row=1, level="human", effects=()))
    for _ in range(2):
        assisted, alone = waiting(lake=desk.lake, logs=desk.logs, part="online")
        assert (assisted.proposal, assisted.key, assisted.day) == (0.4, "k", "2013-01-05")
        assert assisted.at == "2026-01-02T03:01:00.000+00:00"
        assert assisted.effects == [{"feature": "distance", "value": 500.0, "typical": 900.0, "effect": -0.25}]
        assert assisted.values == alone.values == {"distance": 500.0}
        assert (alone.proposal, alone.effects, alone.level) == (None, [], "human")
        desk.collect()


def test_lines_of_a_service_that_knew_no_levels_were_decided_by_the_model(desk: Desk) -> None:
    desk.predicted(ROW)
    (segment,) = (desk.traffic / "m").glob("*.jsonl")
    line = json.loads(segment.read_text())
    for name in ("decided_by", "level", "effects"):
        del line[name]
    segment.write_text(json.dumps(line) + "\n")
    assert desk.ids == []
    desk.collect()
    assert desk.lake.read("predictions", date(2013, 1, 5), date(2013, 1, 5))["decided_by"].tolist() == ["model"]


def test_agreement_counts_the_last_decision_against_what_the_model_would_have_decided(desk: Desk) -> None:
    for number, probability in enumerate((0.4, 0.4, 0.2, 0.9)):
        desk.predicted(replace(ROW, request_id=f"r{number}", prediction=probability, level="shadow"))
    desk.decided("r0", 0, name="first try")
    desk.decided("r0", 1, name="second thoughts")
    desk.decided("r1", 0)
    desk.decided("r2", 0)
    (found,) = desk.agreed(LATE)
    assert found == Agreement(level="shadow", version="1", waiting=1, decided=3, share=2 / 3, difference=None)
    assert described({}, [found]).splitlines()[1] == (
        "version 1 at shadow: 3 decided, 1 wait; people decided as the model would have in 66.7%"
    )


def test_agreement_about_a_number_is_its_mean_absolute_difference(desk: Desk) -> None:
    desk.predicted(replace(ROW, prediction=100.0), replace(ROW, row=1, prediction=90.0))
    assert desk.agreed(MINUTES)[0].difference is None
    desk.decided("r", 104.0, row=0)
    desk.decided("r", 88.0, row=1)
    (found,) = desk.agreed(MINUTES)
    assert (found.decided, found.share, found.difference) == (2, None, pytest.approx(3.0))
    assert described({}, [found]).endswith("; people and model are 3 apart on average")


def test_rows_of_batches_wait_with_their_own_values(desk: Desk) -> None:
    day = date(2013, 1, 5)
    frame = pd.DataFrame(
        {
            "request_id": ["batch:2013-01-05:0", "batch:2013-01-05:1"],
            "row": 0,
            "_key": ["a", "b"],
            "version": "1",
            "arm": "champion",
            "served": True,
            "route": 7,
            "prediction": [0.4, 0.9],
            "decided_by": ["person", "model"],
            "level": "partial",
            "effects": [json.dumps([{"feature": "x", "effect": 0.1}]), None],
        }
    )
    desk.lake.write("predictions", day, frame, part="batch")
    desk.lake.write("batches", day, pd.DataFrame({"_key": ["a", "b"], "x": [1.0, 2.0], "t": [None, "u"]}))
    (case,) = waiting(lake=desk.lake, logs=desk.logs, part="batch")
    assert (case.request_id, case.at, case.values) == ("batch:2013-01-05:0", None, {"x": 1.0, "t": None})
    desk.decided("batch:2013-01-05:0", 1)
    assert waiting(lake=desk.lake, logs=desk.logs, part="batch") == []


def test_table_and_json_list_what_waits(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    review.show([])
    desk.predicted(ROW, replace(ROW, row=1, level="human", effects=()))
    cases = waiting(lake=desk.lake, logs=desk.logs, part="online")
    review.show(cases * 30)
    shown = capsys.readouterr().out
    assert shown.startswith("Nothing waits for a person.\n")
    for part in ("distance -0.25", "not shown", "distance=500", "10 more wait; --json has all."):
        assert part in " ".join(shown.split())
    found: list[dict[str, Any]] = json.loads(review.as_json(cases))
    assert [(case["request_id"], case["row"], case["proposal"]) for case in found] == [("r", 0, 0.4), ("r", 1, None)]


def test_commands_set_levels_and_list_what_waits(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {
        "MODELS": str(MODELS),
        "LAKE": str(tmp_path / "lake"),
        "LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
        "REGISTRY": "http://127.0.0.1:9",
        "TRAFFIC": str(tmp_path / "traffic"),
    }
    for name, value in addresses.items():
        monkeypatch.setenv(f"TRIMTAB_{name}", value)
    migrate(open_engine(addresses["LEDGER"]))
    writer = TrafficWriter(desk.traffic, "flight_late", "w", desk.clock)
    writer.write([ROW])
    writer.close()

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert [case["request_id"] for case in json.loads(run("queue", "flight_late", "--json"))] == ["r"]
    assert "distance -0.25" in run("queue", "flight_late")
    assert run("queue", "flight_air_time") == "Nothing waits for a person.\n"
    set_level = run("automation", "flight_late", "assist", "--slice", "carrier=UA", "--reason", "a test")
    assert set_level == run("automation", "flight_late")
    levels = set_level.splitlines()
    assert levels[1].startswith("carrier=UA: assist, by ")
    assert levels[2] == "version 1 at assist: 0 decided, 1 wait"
    refused = CliRunner().invoke(app, ["automation", "flight_late", "assist", "--slice", "airline=UA"])
    assert (refused.exit_code, "There is no slice 'airline=UA'" in refused.stderr) == (1, True)
