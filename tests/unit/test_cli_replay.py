"""What `trimtab replay` refuses before it does anything, and what it says."""

import re
import shutil
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from doubles import FLIGHTS
from trimtab.adapters.model_folder import SPEC_FILE, load_folder
from trimtab.cli import replay as command
from trimtab.cli.main import app
from trimtab.cli.replay_folders import Plan
from trimtab.cli.replay_outcome import outcome_of
from trimtab.domain.journal import Draft, Stream
from trimtab.domain.replaying import POLICIES, DayLoss, Event, Outcome

if TYPE_CHECKING:
    from trimtab.adapters.replay_stores import PolicyStores
    from trimtab.adapters.sql_ledger import SqlLedger

APRIL_FIRST, LAST = date(2013, 4, 1), date(2013, 4, 30)
APRIL = ("--from", "2013-04-01", "--to", "2013-04-30")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "2013-04-02", "--to", "2013-04-01"), "--from 2013-04-02 is after --to 2013-04-01. Turn them round."),
        (("--from", "2013-01-01", "--to", "2013-04-01"), "--from 2013-01-01 leaves no day before it to learn from: the source begins on 2013-01-01."),
        ((*APRIL, "--policy", "statik"), "Policy 'statik' is neither a file nor one of static, weekly, monthly, triggered, guarded. Mend --policy."),
        ((*APRIL, "--policy", "static", "--policy", "static"), "Two policies are called 'static'. Give each a name of its own."),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = run(FLIGHTS, *arguments, "--work", tmp_path / "work")
    assert result.exit_code == 1
    assert result.output.strip() == message
    assert not (tmp_path / "work").exists()


def test_a_policy_file_is_checked_against_the_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nsections: {monitor: {smallest_changes: 0.1}}\n", encoding="utf-8")
    result = run(FLIGHTS, *APRIL, "--policy", file)
    assert result.exit_code == 1
    assert result.output.strip() == (
        f"{file}: monitor.smallest_changes: there is no such key. Did you mean 'smallest_change'?"
    )


@pytest.mark.parametrize(
    ("first_day", "asked", "begins"),
    [
        (date(2013, 1, 1), None, date(2013, 1, 1)),  # all that there is
        (date(2010, 1, 1), None, date(2012, 4, 1)),  # a year at most
        (date(2013, 1, 1), 10, date(2013, 3, 22)),
        (date(2013, 1, 1), 200, date(2013, 1, 1)),
        (None, None, date(2013, 2, 24)),  # window, hold-out and delay
    ],
)
def test_days_before_the_first_one_are_loaded_as_far_as_they_can_be_used(
    first_day: date | None, asked: int | None, begins: date, tmp_path: Path
) -> None:
    folder = tmp_path / "flight_air_time"
    shutil.copytree(FLIGHTS, folder)
    document = yaml.safe_load((folder / SPEC_FILE).read_text(encoding="utf-8"))
    document["source"]["first_day"] = first_day
    (folder / SPEC_FILE).write_text(yaml.safe_dump(document), encoding="utf-8")
    found = command.plan_replay(folder, date(2013, 4, 1), date(2013, 4, 30), policies=(), work=tmp_path, warm_up=asked)
    assert found.plan.warm_up == begins
    assert [policy.name for policy in found.policies] == ["static", "monthly", "triggered", "guarded"]


def test_the_table_has_a_column_for_each_policy(capsys: pytest.CaptureFixture[str]) -> None:
    day = date(2013, 4, 1)
    retrain = Event(day=day, kind="retrain", reason="")
    refusal = Event(day=day, kind="refusal", reason="")
    outcomes = [
        Outcome(
            policy=name,
            description="",
            loss_name="MAE",
            days=(DayLoss(day=day, rows=10, loss=level),),
            events=(retrain, refusal),
            fits=2,
            seconds=3.0,
        )
        for name, level in (("static", 10.5), ("guarded", 7.75))
    ]
    command.show(outcomes)
    lines = [re.findall(r"[\w.,-]+", line) for line in capsys.readouterr().out.splitlines()]
    assert ["static", "guarded"] in lines
    assert ["2013-04", "10.500", "7.750"] in lines
    assert ["fits", "2", "2"] in lines
    assert ["refusals", "1", "1"] in lines


def test_correction_of_the_level_is_an_event_and_no_fit(ledger: "SqlLedger", tmp_path: Path) -> None:
    day, plan = date(2013, 4, 3), Plan(model=FLIGHTS, work=tmp_path, warm_up=APRIL_FIRST, first=APRIL_FIRST, last=LAST)
    entries: tuple[tuple[Stream, str, str], ...] = (
        ("retraining", "recalibrate", "it has helped"),
        ("retraining", "nothing", "numbers"),
        ("training", "begun", "the model is stale"),
    )
    for number, (stream, kind, reason) in enumerate(entries):
        draft = Draft(stream=stream, subject=str(number), kind=kind, as_of=day, payload={"reason": reason})
        ledger.append(draft, after=ledger.head(stream))
    stores = SimpleNamespace(ledger=ledger, lake=NoRows(), folder=load_folder(FLIGHTS))
    found = outcome_of(plan, POLICIES["guarded"], cast("PolicyStores", stores), seconds=1.0)
    assert (found.fits, found.count("recalibration")) == (1, 1)
    assert [event.reason for event in found.events] == ["the model is stale", "it has helped"]


class NoRows:
    """A lake in which nothing was served."""

    def read(self, *_: object, **__: object) -> pd.DataFrame:
        return pd.DataFrame()
