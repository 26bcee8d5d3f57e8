"""The input forms of MLflow's scoring server, as rows."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from trimtab.domain.row_types import is_text
from trimtab.domain.spec import ColumnType
from trimtab.serving.refusals import RefusalError
from trimtab.serving.row_check import ReadRows

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Texts of a CSV file that mean 'no value': those of `pandas.read_csv`, with which MLflow reads it."""


class _Named(NamedTuple):
    rows: list[dict[str, object]]
    lost: dict[int, str]


def json_rows(document: object) -> ReadRows:
    """The rows of a JSON body.

    Raises:
        RefusalError: If the body has not exactly one of the forms.
    """
    forms = [form for form in FORMS if form in document] if isinstance(document, dict) else []
    if not isinstance(document, dict) or len(forms) != 1:
        raise RefusalError(400, f"The body must be a JSON object with exactly one of {', '.join(FORMS)}.")
    form = forms[0]
    content = document[form]
    if form == "dataframe_split":
        return _split_rows(content)
    if form == "inputs" and isinstance(content, dict):
        return _column_rows(content)
    if not isinstance(content, list):
        raise RefusalError(400, f"{form} must be a list of rows, each an object of columns.")
    return ReadRows(rows=[_without_nan(row) for row in content])


def csv_rows(body: bytes, columns: Mapping[str, ColumnType]) -> ReadRows:
    """The rows of a CSV body with a header line; `columns` says which values are numbers.

    Raises:
        RefusalError: If it cannot be read.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")) if line]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise RefusalError(400, f"The body is not CSV in UTF-8 that can be read: {exc}.") from exc
    if not lines:
        raise RefusalError(400, "The CSV must begin with a line of column names.")
    read = _named(lines[0], lines[1:])
    rows = [{name: _typed(text, columns.get(name, "text")) for name, text in row.items()} for row in read.rows]
    return ReadRows(rows=rows, lost=read.lost)


def _split_rows(content: object) -> ReadRows:
    is_whole = isinstance(content, dict) and {"columns", "data"} <= set(content) <= {"columns", "data", "index"}
    columns, data = (content["columns"], content["data"]) if is_whole and isinstance(content, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        raise RefusalError(400, "dataframe_split must have the lists columns and data, and may have index.")
    read = _named(columns, data)
    return ReadRows(rows=[_without_nan(row) for row in read.rows], lost=read.lost)


def _column_rows(content: Mapping[str, object]) -> ReadRows:
    """Rows of columns that are lists of the same length; or one row, if they are no lists."""
    lists = [values for values in content.values() if isinstance(values, list)]
    if not lists:
        return ReadRows(rows=[_without_nan(content)])
    if len(lists) < len(content) or len({len(values) for values in lists}) > 1:
        raise RefusalError(400, "inputs must have lists of the same length, one for each column.")
    return ReadRows(rows=[_without_nan(dict(zip(content, row, strict=True))) for row in zip(*lists, strict=True)])


def _named(columns: Sequence[object], lines: Iterable[object]) -> _Named:
    names = [column for column in columns if isinstance(column, str)]
    if len(set(names)) < len(columns):
        raise RefusalError(400, "The columns must have names, each another.")
    rows: list[dict[str, object]] = []
    lost: dict[int, str] = {}
    for position, values in enumerate(lines):
        if isinstance(values, list) and len(values) == len(names):
            rows.append(dict(zip(names, values, strict=True)))
        else:
            rows.append({})
            lost[position] = f"must have {len(names)} values, one for each column"
    return _Named(rows, lost)


def _typed(text: object, kind: ColumnType) -> object:
    """A value of a CSV file; what is no number stays a text, of which the row check says what is wrong."""
    if text in MISSING:
        return None
    if is_text(kind) or "_" in str(text):  # Python would read '1_5' as 15
        return text
    try:
        return float(str(text))
    except ValueError:
        return text


def _without_nan(row: object) -> object:
    """The row as the types know it: a missing value is null; in a data frame it is nan."""
    if not isinstance(row, dict):
        return row
    return {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124
