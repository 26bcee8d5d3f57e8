"""Bodies of the prediction service; those of requests are made from the columns of a model's rows."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, create_model

from trimtab.domain.release import Arm
from trimtab.domain.spec import ColumnType, DayFromColumn, ModelSpec, RowsSpec
from trimtab.serving.rows import Value

MAX_ROWS = 1000
MAX_TEXT = 1000
"""Characters of a text value."""
MAX_PROBLEMS = 100
"""Problems that one refusal lists."""
SHOWN = 160
"""Characters of a wrong value that a refusal repeats."""
EXACT = 2**53
"""Beyond it a float no longer holds every integer."""

REQUEST_ID = r"^[A-Za-z0-9._:\-]{1,100}$"
RequestId = Annotated[str, Field(pattern=REQUEST_ID, description="Names the request in answer and log.")]


class Message(BaseModel):
    """A body: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RowMessage(Message):
    """A row to predict; its fields are made from the model's columns, in their order."""

    def values(self) -> tuple[Value, ...]:
        """The values in the order of the columns."""
        return tuple(self.__dict__.values())


class PredictionRequest(Message):
    """What is asked."""

    rows: Sequence[RowMessage]
    request_id: RequestId | None = None


class RowAnswer(Message):
    """The answer for one row."""

    prediction: float = Field(description="A number as the label is; of a yes or no, the probability of a yes.")
    version: str = Field(description="Version of the model that predicted this row.")
    arm: Arm = Field(description="Whether that is the live version or the one under test.")


class Answer(Message):
    """Predictions in the order of the rows."""

    request_id: str
    model: str
    predictions: list[RowAnswer]


class RowProblem(Message):
    """Why a row cannot be predicted."""

    row: int | None = Field(description="Position in the request, from 0; null: the body itself.")
    column: str | None = None
    problem: str


class Refusal(Message):
    """Why there is no answer. The whole request is refused if one of its rows is."""

    request_id: str
    reason: str
    rows: list[RowProblem] = Field(default=[], description=f"At most {MAX_PROBLEMS} of the problems.")


class ModelState(Message):
    """What the service has loaded for one model."""

    version: str | None = Field(
        default=None, description="The version that answers; null: none has been released, or none loaded."
    )
    challenger: str | None = None
    share: float = Field(default=0.0, description="Share of the rows that the challenger answers.")
    routing: int | None = Field(default=None, description="Ledger sequence of the routing in force.")
    problem: str | None = Field(default=None, description="Why the newest routing cannot be followed.")


class Readiness(Message):
    """Whether every released model has a version that answers, and there is one."""

    ready: bool
    models: dict[str, ModelState]


class Health(Message):
    """The process is up."""

    status: Literal["up"] = "up"


def request_type(spec: ModelSpec) -> type[PredictionRequest]:
    """The request body for one model, with a field for each column of its rows."""
    name = "".join(part.title() for part in spec.name.split("_"))
    fields: dict[str, Any] = {
        # A column may have a name that no field of pydantic's can.
        f"column_{position}": _field(column, kind)
        for position, (column, kind) in enumerate(spec.rows.columns.items())
    }
    row = create_model(f"{name}Row", __base__=RowMessage, __doc__=f"A row of {spec.name}.", **fields)
    rows = Annotated[
        list[row],
        Field(min_length=1, max_length=MAX_ROWS, description=f"1 to {MAX_ROWS} rows; each is predicted by itself."),
    ]
    return create_model(f"{name}Request", __base__=PredictionRequest, __doc__=spec.description, rows=(rows, ...))


def example(spec: ModelSpec) -> dict[str, JsonValue]:
    """A body that is answered as it stands."""
    day = _example_day(spec.rows)
    values: dict[str, JsonValue] = {"number": 1.0, "integer": 1, "text": "A"}
    row: dict[str, JsonValue] = {
        column: day.get(column, values.get(kind.rstrip("?"))) for column, kind in spec.rows.columns.items()
    }
    return {"rows": [row]}


def problems(errors: Sequence[Any], rows: RowsSpec) -> list[RowProblem]:
    """The errors of pydantic (as its `errors()` gives them) in the words of the model's rows."""
    return [_problem(error, rows) for error in errors[:MAX_PROBLEMS]]


def _field(column: str, kind: ColumnType) -> tuple[Any, Any]:
    known = _TYPES[kind.rstrip("?")]
    return (known | None, Field(default=None, alias=column)) if kind.endswith("?") else (known, Field(alias=column))


def _whole(value: float) -> float:
    if not value.is_integer() or abs(value) > EXACT:
        raise ValueError("not an integer that a float holds exactly")
    return value


_NUMBER = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_TYPES: dict[str, Any] = {
    "number": _NUMBER,
    "integer": Annotated[_NUMBER, AfterValidator(_whole), WithJsonSchema({"type": "integer"})],
    "text": Annotated[str, Field(strict=True, max_length=MAX_TEXT)],
}
_MUST_BE = {
    "number": "must be a number",
    "integer": "must be an integer of at most 2^53",
    "text": f"must be a text of at most {MAX_TEXT} characters",
}


def _example_day(rows: RowsSpec) -> dict[str, JsonValue]:
    day, how = datetime(2024, 1, 15), rows.event_day  # noqa: DTZ001  # a day in the model's own time
    if isinstance(how, DayFromColumn):
        parts = {how.column: day.strftime(how.format)}
    else:
        parts = {how.year: "2024", how.month: "1", how.day: "15"}
    return {name: text if rows.columns[name].startswith("text") else int(text) for name, text in parts.items()}


def _problem(error: Mapping[str, Any], rows: RowsSpec) -> RowProblem:
    where = [part for part in error["loc"] if part != "body"]
    if len(where) < 2 or where[0] != "rows" or not isinstance(where[1], int):  # noqa: PLR2004  # rows, position
        field = ".".join(map(str, where)) if where and isinstance(where[0], str) else ""
        return RowProblem(row=None, problem=_cut(f"{field}: {error['msg']}" if field else f"body: {error['msg']}"))
    if len(where) == 2:  # noqa: PLR2004
        return RowProblem(row=where[1], problem=f"must be an object of columns, got {_shown(error['input'])}")
    column = str(where[2])
    return RowProblem(row=where[1], column=_cut(column), problem=_column_problem(error, column, rows))


def _column_problem(error: Mapping[str, Any], column: str, rows: RowsSpec) -> str:
    if error["type"] == "missing":
        return "is missing"
    if column not in rows.columns:
        close = difflib.get_close_matches(column[:MAX_TEXT], list(rows.columns), n=1)
        return "there is no such column" + (f"; did you mean {close[0]!r}?" if close else "")
    return f"{_MUST_BE[rows.columns[column].rstrip('?')]}, got {_shown(error['input'])}"


def _shown(value: object) -> str:
    """A wrong value, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float, str)):
        return _cut(repr(value))
    return "a list" if isinstance(value, list) else "an object"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
