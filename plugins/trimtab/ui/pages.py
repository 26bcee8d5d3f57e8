"""The status page as HTML. Everything that comes from a ledger or a model folder is escaped."""

from base64 import b64encode
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trimtab.ui import chart
from trimtab.ui.queries import Board, ModelPage
from trimtab.ui.status import Level

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
SCRIPT = (TEMPLATES / "frame.js").read_text(encoding="utf-8")
REFRESH_S = 30
LEVEL_WORDS = {
    Level.ACT: "Act now",
    Level.DECIDE: "Your decision",
    Level.WATCH: "Watch",
    Level.UNKNOWN: "Unknown",
    Level.FINE: "Fine",
}
KIND_LEVELS = {
    "ok": Level.FINE,
    "accepted": Level.FINE,
    "promoted": Level.FINE,
    "live": Level.FINE,
    "done": Level.FINE,
    "drift": Level.WATCH,
    "retrain": Level.WATCH,
    "refused": Level.WATCH,
    "approved": Level.WATCH,
    "step": Level.WATCH,
    "resumed": Level.WATCH,
    "verified": Level.FINE,
    "requested": Level.DECIDE,
    "held": Level.DECIDE,
    "decay": Level.ACT,
    "blocked": Level.ACT,
    "opened": Level.ACT,
    "incident": Level.ACT,
    "rolled_back": Level.ACT,
}
"""Colour of a decision; one that is not here is neither good nor bad."""


def source_hash(text: str) -> str:
    """A text's hash as Content-Security-Policy writes it."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {source_hash(STYLE)}; script-src {source_hash(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""Only the page's own style and script run, so that what slips through the escaping would still do nothing."""


class Pages:
    """Renders the pages for one place that Airflow is mounted at.

    Args:
        airflow: Path of Airflow's UI, without a slash at the end.
        root: Path of the status page, without a slash at the end.
        now: Wall clock (UTC).
    """

    def __init__(self, *, airflow: str, root: str, now: datetime) -> None:
        """Bind to places and time."""
        self._values = {
            "airflow": airflow,
            "root": root,
            "now": now,
            "style": STYLE,
            "script": SCRIPT,
            "refresh_s": REFRESH_S,
        }

    def board(self, board: Board) -> str:
        """All models."""
        counts = {level: sum(model.level is level for model in board.models) for level in Level}
        shown = {level: count for level, count in counts.items() if count}
        return self._render("board.html", title="Models", board=board, counts=shown)

    def model(self, page: ModelPage) -> str:
        """One model with its history."""
        name = page.status.name
        return self._render(
            "model.html", title=name, model=page.status, history=page.history, chart=chart.chart_of(page.history)
        )

    def notice(self, title: str, text: str) -> str:
        """A page that says why there is nothing to see."""
        return self._render("notice.html", title=title, text=text)

    def _render(self, template: str, **values: object) -> str:
        return environment.get_template(template).render(**self._values, **values)


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that counts at least two."""
    seconds = max((now - moment).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def moment(value: datetime) -> str:
    """A wall-clock moment to the minute."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def number(value: float) -> str:
    """Three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


def words(value: str) -> str:
    """A name of the ledger as words."""
    return value.replace("_", " ")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"ago": ago, "moment": moment, "number": number, "words": words, "bar": chart.bar_of}
    made.filters.update(filters)
    made.filters["day"] = date.isoformat
    made.globals.update(level_words=LEVEL_WORDS, kind_levels=KIND_LEVELS, geometry=chart)
    return made


environment = _environment()
