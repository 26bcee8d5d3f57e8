"""`trimtab drill`: break a recorded day in every way that is known, and show what monitoring would say."""

from collections.abc import Sequence
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from trimtab.adapters.stores import Stores
from trimtab.domain.drills import DRILLS, Drill
from trimtab.errors import RequestError, listed
from trimtab.stages.drill import DrillResult, drill


def chosen_drills(names: Sequence[str]) -> Sequence[Drill]:
    """The drills of these names; all, if there are none.

    Raises:
        RequestError: Naming those there are.
    """
    unknown = sorted(set(names) - set(DRILLS))
    if unknown:
        raise RequestError(f"There is no drill {listed(unknown)}. There are: {', '.join(sorted(DRILLS))}.")
    return [DRILLS[name] for name in names or DRILLS]


def run_drills(stores: Stores, day: date | None, names: Sequence[str], seed: int) -> Sequence[DrillResult]:
    """Drill the last day that has labels, or the one that is given.

    Raises:
        RequestError: If there is no such day or drill.
    """
    drills = chosen_drills(names)
    labelled = stores.lake.days("labels")
    if day is None and not labelled:
        raise RequestError("No day has labels yet. Name a day that has been taken in with --day.")
    spec = stores.folder.spec
    return drill(
        day or labelled[-1],
        drills,
        lake=stores.lake,
        ledger=stores.ledger,
        registry=stores.registry,
        rows=spec.rows,
        features=spec.features,
        label=spec.label,
        monitor=spec.monitor,
        seed=seed,
    )


def show(results: Sequence[DrillResult]) -> None:
    """What each drill was taken for, and below it why; 80 columns are enough."""
    console = Console(highlight=False)
    console.print(_line("drill", "verdict", "triage", "advice", "right"), style="bold")
    for result in results:
        said = result.triage
        kind, right = str(said.bug or said.kind), "yes" if result.is_right else "[red]no[/red]"
        console.print(_line(result.drill.name, result.verdict.status.value, kind, str(said.advice), right))
        if said.reasons:
            console.print(Padding(escape(said.reasons[0]), (0, 0, 0, 4)), style="dim")
    console.print(f"{sum(one.is_right for one in results)} of {len(results)} are called what they are.")


def _line(drill: str, verdict: str, kind: str, advice: str, right: str) -> str:
    return f"{drill:<18}{verdict:<16}{kind:<18}{advice:<15}{right}"
