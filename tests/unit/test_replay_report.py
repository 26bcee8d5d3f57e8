"""The report of a replay: complete, escaped, and readable without a network."""

import json
import re
from datetime import date, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from trimtab.adapters.replay_report import report_html
from trimtab.domain.replaying import DayLoss, Event, Outcome

FIRST = date(2013, 4, 1)
REASON = "<b>MAE</b> & more </script><!-- beyond -->"


def outcome(policy: str, level: float, *events: Event) -> Outcome:
    days = tuple(DayLoss(day=FIRST + timedelta(days=number), rows=10, loss=level) for number in range(40))
    return Outcome(
        policy=policy, description=f"how {policy} works", loss_name="MAE", days=days, events=events, fits=3, seconds=1.0
    )


@pytest.fixture(scope="module")
def page() -> str:
    retrain = Event(day=FIRST, kind="retrain", reason=REASON)
    return report_html("flights, April", "air_time", [outcome("static", 9.25), outcome("guarded", 7.5, retrain)])


class Elements(HTMLParser):
    """What a page is made of, and what it would load from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href")]


def charts(page: str) -> dict[str, Any]:
    """The specifications as the page has them."""
    found = re.search(r"const charts = (\{.*\});\nfor ", page)
    assert found is not None
    return json.loads(found[1].replace("<\\!--", "<!--"))


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    found = Elements(page)
    assert found.loaded == []
    assert "link" not in found.tags
    assert found.tags.count("script") == 2
    assert len(page) > 500_000  # the library that draws is inside


def test_a_reason_cannot_become_part_of_the_page(page: str) -> None:
    assert "&lt;b&gt;MAE&lt;/b&gt; &amp; more" in page
    assert page.count("</script>") == 2
    marks = charts(page)["time"]["vconcat"][1]
    rows = next(rows for rows in charts(page)["time"]["datasets"].values() if rows and "why" in rows[0])
    assert rows == [{"policy": "guarded", "day": "2013-04-01T00:00:00", "what": "retrain", "why": REASON}]
    assert marks["encoding"]["shape"]["field"] == "what"


def test_every_policy_has_its_figures_by_month(page: str) -> None:
    cells = re.sub(r"<[^>]*>", " ", page[: page.index("Error over time")]).split()
    assert cells.count("9.250") == 3  # all days, April, May
    assert cells.count("7.500") == 3


def test_lines_are_means_of_seven_days(page: str) -> None:
    rows = next(rows for rows in charts(page)["time"]["datasets"].values() if rows and "loss" in rows[0])
    assert {(row["policy"], row["loss"]) for row in rows} == {("static", 9.25), ("guarded", 7.5)}
    assert len(rows) == 80


def test_a_replay_in_which_nothing_was_done_or_measured_has_a_report() -> None:
    empty = Outcome(policy="static", description="", loss_name="MAE", days=(), events=(), fits=0, seconds=0.0)
    assert "static" in report_html("flights, April", "air_time", [empty])
