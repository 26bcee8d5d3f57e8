# ruff: noqa: E402  # what Great Expectations looks at must be set before its import
"""Great Expectations on a batch, with the severity of each expectation and the rows that break it."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # GX looks for PySpark

import great_expectations as gx
import pandas as pd
import yaml
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.exceptions.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    Expectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import get_expectation_impl, list_registered_expectation_implementations

from trimtab.domain.ports import ExpectationResult, Severity
from trimtab.errors import SpecError

ROW = "_row"
PER_ROW = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of every store that it opens
SEVERITIES: Mapping[str, Severity] = {"critical": "critical", "warning": "warning", "info": "info"}


class GxValidator:
    """Runs the suite of a model folder."""

    def __init__(self, suite_file: Path) -> None:
        """Read and check the suite.

        Raises:
            SpecError: Naming the entry that is not right.
        """
        self._expectations = [
            _configuration(entry, position, str(suite_file)) for position, entry in enumerate(_entries(suite_file))
        ]

    def validate(self, batch: pd.DataFrame) -> Sequence[ExpectationResult]:
        """Judge a batch (column `_row` names its rows); one result for each expectation of the suite."""
        # Without this a folder for documentation pages would be left behind in /tmp by every batch.
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        context = gx.get_context(
            mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores, analytics_enabled=False)
        )
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("batch").add_dataframe_asset("batch")
        definition = asset.add_batch_definition_whole_dataframe("batch")
        suite = gx.ExpectationSuite(name="suite", expectations=self._expectations)
        result = definition.get_batch({"dataframe": batch}).validate(
            suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [ROW]}
        )
        return [_result(one) for one in result.results]


def _entries(file: Path) -> list[Any]:
    try:
        entries = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.YAMLError as exc:
        raise SpecError(str(file), "", f"is not YAML: {str(exc)[:200]}. Mend the syntax.") from exc
    if not isinstance(entries, list):
        raise SpecError(str(file), "", "must be a list of expectations, each with type, kwargs and severity.")
    return entries


def _configuration(entry: Any, position: int, file: str) -> Expectation:
    where = f"entry {position + 1}"
    if not isinstance(entry, dict) or set(entry) - {"type", "kwargs", "severity"} or "type" not in entry:
        raise SpecError(file, where, "must have the keys type, kwargs and severity, and no others.")
    if entry.get("severity") not in SEVERITIES:
        known = ", ".join(map(repr, SEVERITIES))
        raise SpecError(file, f"{where}.severity", f"must be one of {known}. Got {entry.get('severity')!r}.")
    if entry["type"] not in list_registered_expectation_implementations():
        raise SpecError(
            file, f"{where}.type", f"Great Expectations has no expectation {entry['type']!r}. Mend the name."
        )
    configuration = ExpectationConfiguration(
        type=entry["type"], kwargs=entry.get("kwargs") or {}, severity=entry["severity"]
    )
    try:
        return configuration.to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as exc:
        raise SpecError(file, f"{where}.kwargs", f"{entry['type']} refuses them: {str(exc)[:300]}.") from exc


def _result(result: ExpectationValidationResult) -> ExpectationResult:
    configuration = result.expectation_config
    assert configuration is not None  # noqa: S101  # always set on a result of a suite
    raised = result.exception_info and any(info.get("raised_exception") for info in _exceptions(result.exception_info))
    per_row = issubclass(get_expectation_impl(configuration.type), PER_ROW)
    index = (result.result or {}).get("unexpected_index_list") or []
    return ExpectationResult(
        expectation=_name(configuration),
        severity="critical" if raised else SEVERITIES[str(configuration.severity).rpartition(".")[2].lower()],
        success=bool(result.success) and not raised,
        observed=_raised_message(result.exception_info) if raised else _observed(result.result or {}, per_row=per_row),
        unexpected_rows=tuple(int(entry[ROW]) for entry in index),
        per_row=per_row,
    )


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """GX gives one mapping, or one for each metric."""
    return [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, dict)]


def _raised_message(info: Mapping[str, Any]) -> str:
    messages = [str(one.get("exception_message")) for one in _exceptions(info) if one.get("raised_exception")]
    return f"could not be evaluated: {messages[0][:300]}" if messages else "could not be evaluated"


def _name(configuration: ExpectationConfiguration) -> str:
    kwargs = configuration.kwargs
    pair = [kwargs[name] for name in ("column_A", "column_B") if name in kwargs]
    subject = kwargs.get("column") or ", ".join(kwargs.get("column_list") or pair)
    return f"{configuration.type}({subject})"


def _observed(result: Mapping[str, Any], *, per_row: bool) -> str:
    if per_row:
        examples = ", ".join(repr(value) for value in (result.get("partial_unexpected_list") or [])[:3])
        count = f"{result.get('unexpected_count', 0)} of {result.get('element_count', 0)} rows"
        return f"{count} (such as {examples})" if examples else count
    return str(result.get("observed_value"))[:200]
