"""A stale model is not trained anew where the window of a training is too long to follow the world."""

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.domain.journal import Draft
from trimtab.domain.spec import LabelSpec, MonitorSpec
from trimtab.stages.prospect import doubt

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

TODAY = date(2013, 5, 1)
LABEL = LabelSpec(column="air_time", delay_days=1)
ROWS = 50


class Past:
    """Labelled days of one champion, whose mean error on each day is given, the newest last."""

    def __init__(self, ledger: "SqlLedger", folder: Path, biases: list[float]) -> None:
        self.ledger, self.lake = ledger, DeltaLake(str(folder), "flight_air_time")
        for kind in ("requested", "approved", "live"):
            self.note("release", "1", kind, date(2013, 1, 1), {})
        random = np.random.default_rng(0)
        keys = [str(number) for number in range(ROWS)]
        for number, bias in enumerate(reversed(biases), start=1):
            day = TODAY - timedelta(days=number)
            label = random.normal(100, 30, ROWS)
            errors = bias + random.normal(0, 4, ROWS)
            self.lake.write("labels", day, pd.DataFrame({"_key": keys, "label": label}))
            predictions = pd.DataFrame({"_key": keys, "version": "1", "prediction": label + errors})
            self.lake.write("predictions", day, predictions, part="batch")
            measured = {"rows": ROWS, "loss": float(np.abs(errors).mean()), "bias": float(errors.mean())}
            self.note("feedback", day.isoformat(), "measured", day + timedelta(days=1), {"1": {**measured}})

    def note(self, stream: str, subject: str, kind: str, day: date, payload: dict[str, object]) -> None:
        draft = Draft(stream=stream, subject=subject, kind=kind, as_of=day, payload=payload)  # type: ignore[arg-type]
        self.ledger.append(draft, after=self.ledger.head(draft.stream))

    def doubt(self, window_days: int) -> str:
        return doubt(
            TODAY, lake=self.lake, ledger=self.ledger, label=LABEL, monitor=MonitorSpec(), window_days=window_days
        )


@pytest.mark.parametrize(
    ("biases", "window_days", "doubted"),
    [
        ([6.0] * 60, 60, False),  # errs in one direction for as long as a training looks back
        ([0.0] * 53 + [6.0] * 7, 60, True),  # for a week of 60 days
        ([0.0] * 53 + [6.0] * 7, 7, False),  # of which a short window has most
        ([6.0] * 46 + [-6.0] * 14, 60, True),  # the other way round of late: a training would make it worse
    ],
)
def test_doubt_depends_on_how_much_of_the_window_errs_alike(
    biases: list[float], window_days: int, doubted: bool, ledger: "SqlLedger", tmp_path: Path
) -> None:
    said = Past(ledger, tmp_path, biases).doubt(window_days)
    assert bool(said) is doubted
    if doubted:
        assert said.startswith(f"a training on {window_days} days would not follow: a shift by their errors saves ")


def test_nothing_is_doubted_where_nothing_is_known(ledger: "SqlLedger", tmp_path: Path) -> None:
    assert Past(ledger, tmp_path, []).doubt(28) == ""
    assert Past(ledger, tmp_path / "one", [6.0]).doubt(28) == ""
