"""Messages of the Open Inference Protocol, and rows as tensors."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field
from pydantic_core import to_json

from trimtab.domain.row_types import is_text
from trimtab.domain.spec import ColumnType, RowsSpec
from trimtab.serving.answering import AnsweredRows
from trimtab.serving.messages import MAX_ROWS, Message
from trimtab.serving.refusals import RefusalError
from trimtab.serving.row_check import ReadRows, shown

Datatype: TypeAlias = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
Parameters: TypeAlias = dict[str, Any]

OutputName: TypeAlias = Literal["prediction", "version", "arm", "problem", "decided_by", "level", "effects"]
OUTPUTS: dict[OutputName, Datatype] = {
    "prediction": "FP64",
    **dict.fromkeys(("version", "arm", "problem", "decided_by", "level", "effects"), "BYTES"),
}
"""What can be asked for: the prediction; who made it, as which arm; why there is none; who decides, at which level;
and what single features do to a proposal, as JSON."""


class Tolerant(Message):
    """A message that may have more than is known here."""

    model_config = ConfigDict(extra="ignore")


class InputTensor(Tolerant):
    """The values of one column."""

    name: str
    shape: Annotated[list[int], Field(min_length=1, max_length=2, description="[rows] or [rows, 1].")]
    datatype: Datatype
    parameters: Parameters | None = None
    data: list[Any]


class RequestedOutput(Tolerant):
    """An output that is wanted."""

    name: OutputName
    parameters: Parameters | None = None


class InferenceRequest(Tolerant):
    """Tensors of the same number of rows, one for each column."""

    id: Annotated[str, Field(max_length=1000)] | None = Field(default=None, description="Comes back as it is.")
    parameters: Parameters | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1)]
    outputs: list[RequestedOutput] | None = Field(default=None, description="None: all.")


class OutputTensor(Message):
    """A value for each row."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[float | str | None]


class InferenceResponse(Message):
    """Predictions as tensors."""

    model_name: str
    model_version: str = Field(description="Of two versions that share the traffic, both with a comma.")
    id: str
    outputs: list[OutputTensor]


class TensorMetadata(Message):
    """A column or an output; -1 stands for the number of rows."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(Message):
    """What a model takes and gives."""

    name: str
    versions: list[str] = Field(description="Versions that can be asked by name.")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Message):
    """The service."""

    name: str
    version: str
    extensions: list[str]


class ServerState(Message):
    """Whether the service is up, and whether it can predict."""

    live: bool
    ready: bool


class ModelReady(Message):
    """Whether a model can predict."""

    name: str
    ready: bool


def datatype_of(kind: ColumnType) -> Datatype:
    """The tensor that fits a column best."""
    return "BYTES" if is_text(kind) else "INT64" if kind.startswith("integer") else "FP64"


def rows_of(request: InferenceRequest, spec: RowsSpec) -> ReadRows:
    """The rows of tensors, not checked yet.

    Raises:
        RefusalError: If the tensors do not have the same rows, or one has another type than its column.
    """
    names = [tensor.name for tensor in request.inputs]
    if len(set(names)) < len(names):
        raise RefusalError(400, "Each input must have another name.")
    columns = [_values(tensor, spec.columns.get(tensor.name)) for tensor in request.inputs]
    lengths = {len(values) for values in columns}
    if len(lengths) > 1 or not 1 <= max(lengths) <= MAX_ROWS:
        raise RefusalError(400, f"All inputs must have the same number of rows, 1 to {MAX_ROWS}.")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return ReadRows(rows=[_plain(row) for row in rows], lost=_lost(request.inputs, columns))


def written(answered: AnsweredRows, request: InferenceRequest, *, model: str, request_id: str) -> InferenceResponse:
    """The answer as tensors."""
    rows = answered.outcomes
    reasons = {problem.row: str(problem) for problem in reversed(answered.problems)}
    data: dict[OutputName, Sequence[float | str | None]] = {
        "prediction": [row.prediction for row in rows],
        "version": [row.version or "" for row in rows],
        "arm": [row.arm or "" for row in rows],
        "problem": [reasons.get(position, "") for position in range(len(rows))],
        "decided_by": [row.decided_by or "" for row in rows],
        "level": [row.level or "" for row in rows],
        "effects": [to_json(row.effects).decode() if row.effects else "" for row in rows],
    }
    wanted = OUTPUTS if request.outputs is None else {output.name: OUTPUTS[output.name] for output in request.outputs}
    return InferenceResponse(
        model_name=model,
        model_version=",".join(sorted({row.version for row in rows if row.version})),
        id=request_id if request.id is None else request.id,
        outputs=[
            OutputTensor(name=name, shape=[len(rows)], datatype=datatype, data=list(data[name]))
            for name, datatype in wanted.items()
        ],
    )


def _values(tensor: InputTensor, kind: ColumnType | None) -> Sequence[object]:
    """Its values, one for each row, of whatever type they are."""
    rows, *rest = tensor.shape
    if rest not in ([], [1]) or rows != len(tensor.data):
        raise RefusalError(
            400, f"Input {shown(tensor.name)} must have the shape [rows] or [rows, 1], and as many values in data."
        )
    if kind is not None and is_text(kind) != (tensor.datatype == "BYTES"):
        expected = datatype_of(kind)
        raise RefusalError(400, f"Input {shown(tensor.name)} must be {expected}. Got {tensor.datatype}.")
    return [_only(value) for value in tensor.data] if rest else tensor.data


def _only(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _plain(row: dict[str, object]) -> dict[str, object]:
    """The row as JSON would have it: a number instead of a truth value, which no column is."""
    return {name: float(value) if isinstance(value, bool) else value for name, value in row.items()}


def _lost(tensors: Sequence[InputTensor], columns: Sequence[Sequence[object]]) -> dict[int, str]:
    return {
        position: f"{tensor.name[:100]} must be {tensor.datatype}, got {shown(value)}"
        for tensor, values in zip(tensors, columns, strict=True)
        for position, value in enumerate(values)
        if value is not None and not _fits(value, tensor.datatype)
    }


def _fits(value: object, datatype: Datatype) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL" or isinstance(value, bool):
        return isinstance(value, bool) and datatype == "BOOL"
    if datatype.startswith("FP"):
        return isinstance(value, (int, float))
    bits = int(datatype.lstrip("UINT"))
    low, high = (0, 2**bits) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return isinstance(value, int) and low <= value < high
