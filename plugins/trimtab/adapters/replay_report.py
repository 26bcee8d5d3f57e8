"""The report of a replay: one HTML file with its charts and the scripts that draw them, so that it opens offline."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trimtab.domain.replaying import EventKind, Outcome, trailing_means

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 860
SHOWN = "window.vegaEmbed = vegaEmbed;"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind too. Source: Okabe & Ito, "Color Universal Design" (2008)."""
SHAPES: dict[EventKind, str] = {
    "alarm": "square",
    "retrain": "circle",
    "recalibration": "triangle-right",
    "promotion": "triangle-up",
    "refusal": "cross",
    "rollback": "triangle-down",
    "incident": "diamond",
}


def report_html(title: str, label: str, outcomes: Sequence[Outcome]) -> str:
    """The page: table, errors over time with what each policy did, cost in fits, and every reason.

    Args:
        title: Model and days.
        label: What is predicted.
        outcomes: What the policies came to, in the order in which they are shown.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    charts = {"time": _over_time(outcomes), "cost": _cost(outcomes)}
    return environment.get_template("replay.html").render(
        title=title,
        label=label,
        outcomes=outcomes,
        loss_name=outcomes[0].loss_name,
        months=sorted({month for outcome in outcomes for month in outcome.loss_by_month}),
        best=min(outcome.loss for outcome in outcomes),
        bundle=_script(vl_convert.javascript_bundle(SHOWN)),
        charts=_script(json.dumps(charts)),
    )


def _script(code: str) -> Markup:
    """Text that may stand in a script element: nothing in it ends the element."""
    return Markup(code.replace("</script", "<\\/script").replace("<!--", "<\\!--"))  # noqa: S704  # of this module


def _moment(day: date) -> str:
    """A day's beginning where the page is read; a bare date would be midnight in Greenwich."""
    return f"{day}T00:00:00"


def _over_time(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Lines of the trailing mean loss above a row of marks for each policy, on one time axis."""
    losses = [
        {"policy": one.policy, "day": _moment(day), "loss": loss}
        for one in outcomes
        for day, loss in trailing_means(one.days)
    ]
    events = [
        {"policy": one.policy, "day": _moment(event.day), "what": event.kind, "why": event.reason}
        for one in outcomes
        for event in one.events
    ]
    days = [_moment(one.day) for outcome in outcomes for one in outcome.days]
    span = alt.Scale(domain=[min(days), max(days)]) if days else alt.Undefined
    time = alt.X("day:T", title=None, scale=span)
    policy = alt.Color("policy:N", scale=_colours(outcomes), legend=alt.Legend(title=None, orient="top"))
    lines = (
        alt.Chart(_frame(losses, ("policy", "day", "loss")))
        .mark_line(strokeWidth=2)
        .encode(
            x=time,
            y=alt.Y("loss:Q", title=f"{outcomes[0].loss_name}, 7 days", scale=alt.Scale(zero=False)),
            color=policy,
            tooltip=[alt.Tooltip("policy:N"), alt.Tooltip("day:T"), alt.Tooltip("loss:Q", format=".4g")],
        )
        .properties(width=WIDTH, height=280)
    )
    kinds = list(SHAPES)
    marks = (
        alt.Chart(_frame(events, ("policy", "day", "what", "why")))
        .mark_point(size=70, filled=True, opacity=0.8)
        .encode(
            x=time,
            y=alt.Y("policy:N", title=None, sort=[one.policy for one in outcomes]),
            yOffset=alt.YOffset("what:N", sort=kinds),
            color=policy,
            shape=alt.Shape(
                "what:N",
                scale=alt.Scale(domain=kinds, range=list(SHAPES.values())),
                legend=alt.Legend(title=None, orient="bottom"),
            ),
            tooltip=["policy:N", "day:T", "what:N", "why:N"],
        )
        .properties(width=WIDTH, height=alt.Step(12))
    )
    return dict(alt.vconcat(lines, marks).to_dict())


def _cost(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    rows = [{"policy": one.policy, "loss": one.loss, "fits": one.fits} for one in outcomes]
    base = alt.Chart(_frame(rows, ("policy", "loss", "fits"))).encode(
        x=alt.X("fits:Q", title="fits after the first training"),
        y=alt.Y("loss:Q", title=f"{outcomes[0].loss_name}, all days", scale=alt.Scale(zero=False)),
        color=alt.Color("policy:N", scale=_colours(outcomes), legend=None),
    )
    points = base.mark_point(size=120, filled=True)
    names = base.mark_text(align="left", dx=10).encode(text="policy:N")
    return dict((points + names).properties(width=WIDTH // 2, height=240).to_dict())


def _colours(outcomes: Sequence[Outcome]) -> alt.Scale:
    names = [one.policy for one in outcomes]
    return alt.Scale(domain=names, range=[COLOURS[place % len(COLOURS)] for place in range(len(names))])


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))
