"""The rows of a request, each checked by itself: those that can be predicted, and what is wrong with the others."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import ValidationError

from trimtab.domain.spec import ModelSpec, RowsSpec
from trimtab.serving.messages import MAX_PROBLEMS, MAX_TEXT, RowMessage, RowProblem, request_type, row_type
from trimtab.serving.rows import Value

PYDANTIC = re.compile("^(Input|String|List) should")
SHOWN = 160
"""Characters of a wrong value that a reason repeats."""
MUST_BE = {
    "number": "must be a number",
    "integer": "must be an integer of at most 2^53",
    "text": f"must be a text of at most {MAX_TEXT} characters",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows of a body, not checked yet."""

    rows: Sequence[object]
    """Objects of columns, if they are right."""
    lost: Mapping[int, str] = field(default_factory=dict)
    """Why some of them could not even be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRows:
    """The rows of one request."""

    count: int
    values: Sequence[Sequence[Value]]
    """Of the good rows (k,), each in the order of the model's columns."""
    positions: Sequence[int]
    """Of the good rows in the request (k,), ascending."""
    problems: Sequence[RowProblem] = ()
    """Of the other rows, up to `MAX_PROBLEMS` for each."""


class RowCheck:
    """What a row of one model must be."""

    def __init__(self, spec: ModelSpec) -> None:
        """Compile the types of row and body."""
        self.spec = spec.rows
        self.row: type[RowMessage] = row_type(spec)
        self.body = request_type(spec, self.row)

    def check(self, read: ReadRows) -> CheckedRows:
        """Check each row."""
        values: list[tuple[Value, ...]] = []
        positions: list[int] = []
        problems: list[RowProblem] = []
        for position, row in enumerate(read.rows):
            if position in read.lost:
                problems.append(RowProblem(row=position, problem=read.lost[position]))
                continue
            if isinstance(row, dict) and len(row) > len(self.spec.columns):
                # Here, because pydantic would list all of them, and there may be tens of thousands.
                problems.extend(self._unknown(position, row))
                continue
            try:
                values.append(self.row.model_validate(row).values())
                positions.append(position)
            except ValidationError as exc:
                found = exc.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]
                problems.extend(_row_problem(position, error, self.spec) for error in found)
        return CheckedRows(count=len(read.rows), values=values, positions=positions, problems=problems)

    def _unknown(self, position: int, row: Mapping[str, object]) -> list[RowProblem]:
        unknown = islice((column for column in row if column not in self.spec.columns), MAX_PROBLEMS)
        return [
            RowProblem(row=position, column=_cut(column), problem=_no_such_column(column, self.spec))
            for column in unknown
        ]


def body_problem(error: Mapping[str, Any]) -> RowProblem:
    """An error of pydantic about the body itself, in words."""
    field = ".".join(str(part) for part in error["loc"])
    return RowProblem(row=None, problem=_cut(f"{field or 'body'}: {in_words(error)}"))


def in_words(error: Mapping[str, Any]) -> str:
    """What pydantic says of a value, beginning as the other reasons do."""
    return PYDANTIC.sub("must", str(error["msg"])).removeprefix("Value error, ").replace("be None", "be null")


def _row_problem(position: int, error: Mapping[str, Any], rows: RowsSpec) -> RowProblem:
    """An error of pydantic about a row, in the words of the model's rows."""
    if not error["loc"]:
        return RowProblem(row=position, problem=f"must be an object of columns, got {shown(error['input'])}")
    column = str(error["loc"][0])
    return RowProblem(row=position, column=_cut(column), problem=_column_problem(error, column, rows))


def shown(value: object) -> str:
    """A wrong value, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > SHOWN:  # Python refuses to write one of thousands of digits
        return "a number of many digits"
    if isinstance(value, (int, float, str)):
        return _cut(repr(value))
    return "a list" if isinstance(value, list) else "an object"


def _column_problem(error: Mapping[str, Any], column: str, rows: RowsSpec) -> str:
    if error["type"] == "missing":
        return "is missing"
    if column not in rows.columns:
        return _no_such_column(column, rows)
    return f"{MUST_BE[rows.columns[column].rstrip('?')]}, got {shown(error['input'])}"


def _no_such_column(column: str, rows: RowsSpec) -> str:
    close = difflib.get_close_matches(column[:SHOWN], list(rows.columns), n=1)
    return "there is no such column" + (f"; did you mean {close[0]!r}?" if close else "")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
