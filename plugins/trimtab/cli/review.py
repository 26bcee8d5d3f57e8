"""`trimtab queue`: what waits for a person to decide."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from trimtab.adapters.stores import Stores
from trimtab.stages.review import Case, waiting

SHOWN = 50
"""Cases of the table; JSON has all."""


def cases_of(stores: Stores) -> list[Case]:
    """The cases of a model that wait, the oldest first."""
    return waiting(lake=stores.lake, logs=stores.logs, part=stores.folder.spec.release.traffic)


def as_json(cases: Sequence[Case]) -> str:
    """A list of objects."""
    return json.dumps([asdict(case) for case in cases], indent=2)


def show(cases: Sequence[Case]) -> None:
    """A line for each case, and how many more there are."""
    console = Console()
    if not cases:
        console.print("Nothing waits for a person.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("since", "request", "row", "level", "proposal", "why", "values"):
        table.add_column(heading, overflow="fold")
    for case in cases[:SHOWN]:
        proposal = "not shown" if case.proposal is None else f"{case.proposal:.4g}"
        why = ", ".join(f"{one['feature']} {one['effect']:+.3g}" for one in case.effects)
        since = (case.at or case.day)[:19]
        table.add_row(since, case.request_id, str(case.row), case.level, proposal, why, _values(case.values))
    console.print(table)
    if len(cases) > SHOWN:
        console.print(f"{len(cases) - SHOWN} more wait; --json has all.")


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
