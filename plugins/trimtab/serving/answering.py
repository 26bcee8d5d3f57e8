"""From checked rows to what came of each row, the same for every protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.errors import NotFoundError, OverloadedError
from trimtab.serving.desk import Desk, RowOutcome
from trimtab.serving.messages import RowProblem
from trimtab.serving.model_server import ModelServer
from trimtab.serving.refusals import RefusalError, try_later
from trimtab.serving.row_check import CheckedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRows:
    """What came of a request of which at least one row was predicted."""

    outcomes: Sequence[RowOutcome]
    """In the order of the request's rows (n,)."""
    problems: Sequence[RowProblem]
    """In the order of the rows; of each row without a prediction at least one."""


async def answer(desk: Desk, server: ModelServer, checked: CheckedRows, request_id: str) -> AnsweredRows:
    """Predict the good rows.

    Raises:
        RefusalError: If no row was predicted, with the reasons.
    """
    outcomes = await _predict(desk, server, checked, request_id) if checked.values else []
    failed = [
        RowProblem(row=position, problem=outcome.problem)
        for position, outcome in zip(checked.positions, outcomes, strict=True)
        if outcome.problem is not None
    ]
    problems = (
        sorted([*checked.problems, *failed], key=lambda problem: problem.row or 0) if failed else checked.problems
    )
    if len(failed) == len(outcomes):
        which = "The row" if checked.count == 1 else f"None of the {checked.count} rows"
        reason = f"{which} {'cannot' if checked.count == 1 else 'can'} be predicted. Mend and send again."
        raise RefusalError(422, reason, problems)
    if len(outcomes) < checked.count:
        outcomes = _with_the_others(outcomes, checked)
    return AnsweredRows(outcomes=outcomes, problems=problems)


async def _predict(desk: Desk, server: ModelServer, checked: CheckedRows, request_id: str) -> list[RowOutcome]:
    try:
        return await desk.predict(server, checked.values, request_id, checked.positions)
    except (NotFoundError, OverloadedError) as exc:
        raise try_later(str(exc)) from exc
    except OSError as exc:
        raise try_later(f"The log of predictions does not take them ({exc.strerror}).") from exc


def _with_the_others(outcomes: Sequence[RowOutcome], checked: CheckedRows) -> list[RowOutcome]:
    whole = [RowOutcome(prediction=None, version=None, arm=None, problem="is not right")] * checked.count
    for position, outcome in zip(checked.positions, outcomes, strict=True):
        whole[position] = outcome
    return whole
