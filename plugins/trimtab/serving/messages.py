"""Bodies of the prediction service; those of requests are made from the columns of a model's rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, create_model

from trimtab.domain.automation import Decider, Level
from trimtab.domain.explanation import FeatureEffect
from trimtab.domain.release import Arm
from trimtab.domain.spec import ColumnType, DayFromColumn, ModelSpec, RowsSpec
from trimtab.serving.rows import Value

MAX_ROWS = 1000
MAX_TEXT = 1000
"""Characters of a text value."""
MAX_PROBLEMS = 3
"""Problems of one row that an answer lists."""
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
    """The answer for one row; of a row that could not be predicted, nulls."""

    prediction: float | None = Field(
        description="A number as the label is; of a yes or no, the probability of a yes. Null: there is none, as "
        "`problems` says, or the person who decides must not see it."
    )
    version: str | None = Field(description="Version of the model that predicted this row.")
    arm: Arm | None = Field(description="Whether that is the live version or the one under test.")
    decided_by: Decider | None = Field(
        default=None, description="Who decides: the model, or a person, to whom the prediction is a proposal at most."
    )
    level: Level | None = Field(
        default=None, description="Level of automation that says so; at human and shadow there is no prediction."
    )
    effects: tuple[FeatureEffect, ...] = Field(
        default=(),
        description="If a person decides on a proposal: how much larger it is than it would be if a single feature had "
        "its typical value, those with the largest effect first.",
    )

    @property
    def waits(self) -> bool:
        """Whether a person decides."""
        return self.decided_by == "person"


class RowProblem(Message):
    """Why a row cannot be predicted."""

    row: int | None = Field(description="Position in the request, from 0; null: the body itself.")
    column: str | None = None
    problem: str

    def __str__(self) -> str:
        """One line."""
        row = "" if self.row is None else f"row {self.row}: "
        return f"{row}{self.column} {self.problem}" if self.column else f"{row}{self.problem}"


class Answer(Message):
    """Predictions in the order of the rows."""

    request_id: str
    model: str
    routing: int | None = Field(
        default=None, description="Ledger sequence of the routing that was followed, as in the log."
    )
    predictions: list[RowAnswer]
    problems: list[RowProblem] = Field(
        default=[], description=f"Why rows have no prediction: 1 to {MAX_PROBLEMS} reasons for each."
    )


class Refusal(Message):
    """Why there is no answer."""

    request_id: str
    reason: str
    rows: list[RowProblem] = Field(default=[], description="What is wrong with each row.")


class FeedbackAnswer(Message):
    """What was taken of the outcomes that were told."""

    request_id: str
    model: str
    taken: int
    problems: list[RowProblem] = Field(default=[], description="Why the others were not; `row` is their position.")


class InferenceError(Message):
    """The same in the Open Inference Protocol."""

    error: str


class InvocationsError(Message):
    """The same in MLflow's words."""

    error_code: str
    message: str


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


def row_type(spec: ModelSpec) -> type[RowMessage]:
    """A row of one model, with a field for each column."""
    fields: dict[str, Any] = {
        # A column may have a name that no field of pydantic's can.
        f"column_{position}": _field(column, kind)
        for position, (column, kind) in enumerate(spec.rows.columns.items())
    }
    return create_model(f"{_title(spec)}Row", __base__=RowMessage, __doc__=f"A row of {spec.name}.", **fields)


def request_type(spec: ModelSpec, row: type[RowMessage]) -> type[PredictionRequest]:
    """The request body for one model; `row` is the type of its rows."""
    rows: Any = Annotated[
        list[row],  # type: ignore[valid-type]
        Field(min_length=1, max_length=MAX_ROWS, description=f"1 to {MAX_ROWS} rows; each is predicted by itself."),
    ]
    name = f"{_title(spec)}Request"
    return create_model(name, __base__=PredictionRequest, __doc__=spec.description, rows=(rows, ...))


def example(spec: ModelSpec) -> dict[str, JsonValue]:
    """A body that is answered as it stands."""
    return {"rows": [example_row(spec)]}


def example_row(spec: ModelSpec) -> dict[str, JsonValue]:
    """A row that is predicted as it stands."""
    day = _example_day(spec.rows)
    values: dict[str, JsonValue] = {"number": 1.0, "integer": 1, "text": "A"}
    return {column: day.get(column, values.get(kind.rstrip("?"))) for column, kind in spec.rows.columns.items()}


def _title(spec: ModelSpec) -> str:
    return "".join(part.title() for part in spec.name.split("_"))


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


def _example_day(rows: RowsSpec) -> dict[str, JsonValue]:
    day, how = datetime(2024, 1, 15), rows.event_day  # noqa: DTZ001  # a day in the model's own time
    if isinstance(how, DayFromColumn):
        parts = {how.column: day.strftime(how.format)}
    else:
        parts = {how.year: "2024", how.month: "1", how.day: "15"}
    return {name: text if rows.columns[name].startswith("text") else int(text) for name, text in parts.items()}
