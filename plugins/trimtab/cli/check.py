"""Whether a model folder says what it must, tried with the libraries that will read it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml
from rich.console import Console
from rich.table import Column, Table

from trimtab.adapters.model_folder import FEATURE_FILE, SPEC_FILE, ModelFolder, load_folder
from trimtab.domain.columns import Columns
from trimtab.domain.feature_code import FeatureCode
from trimtab.domain.ports import RawBatch
from trimtab.domain.row_types import label_values, typed
from trimtab.domain.spec import CandidateSpec, FeaturesSpec, Task
from trimtab.errors import NotFoundError, SpecError, TrimtabError

ASPECTS = ("spec", "suite", "features", "estimators", "source")
TRIAL_ROWS = 64
TRIAL_CATEGORIES = 4

Result = TypeVar("Result")


@dataclass(slots=True)
class Report:
    """What was found in one folder."""

    folder: Path
    notes: dict[str, str] = field(default_factory=dict)
    """By aspect: what is good, or why it was not looked at."""
    problems: list[str] = field(default_factory=list)
    """File, key and cure of each."""

    def attempt(self, aspect: str, action: Callable[[], Result], note: Callable[[Result], str]) -> Result | None:
        """The result of an action and its note; None and a problem, if it raises one of this package's errors."""
        try:
            result = action()
        except TrimtabError as error:
            self.notes[aspect] = "[red]wrong[/red]"
            self.problems.append(self._worded(error))
            return None
        self.notes[aspect] = note(result)
        return result

    def _worded(self, error: TrimtabError) -> str:
        text = str(error)
        return text if str(self.folder) in text else f"{self.folder}: {text}"


def inspect_folder(path: Path, environment: Mapping[str, str]) -> Report:
    """Try everything in a model folder; `environment` has the connections of SQL sources."""
    report = Report(path)
    folder = report.attempt("spec", lambda: _load(path), lambda folder: f"version {folder.spec.spec_version}")
    if folder is None:
        return report
    report.attempt("suite", lambda: _count_expectations(folder), lambda count: f"{count} expectations")
    raw = report.attempt("source", lambda: _read_first_day(folder, environment), _source_note)
    report.attempt("features", lambda: _try_features(folder, raw), lambda names: f"{len(names)} features")
    report.attempt("estimators", lambda: _try_estimators(folder), ", ".join)
    return report


def show(reports: Sequence[Report]) -> None:
    """A table with a line for each folder."""
    table = Table(Column("model", no_wrap=True), *ASPECTS)
    for report in reports:
        table.add_row(report.folder.name, *(report.notes.get(aspect, "-") for aspect in ASPECTS))
    Console().print(table)


def uri_of(environment: Mapping[str, str]) -> Callable[[str], str]:
    """Finds the SQLAlchemy URL of a connection in Airflow's environment variable for it."""

    def find(connection: str) -> str:
        name = f"AIRFLOW_CONN_{connection.upper()}"
        try:
            extra = json.loads(environment[name])["extra"]
            return str((json.loads(extra) if isinstance(extra, str) else extra)["uri"])
        except (KeyError, TypeError, json.JSONDecodeError) as exc:
            cure = '{"conn_type": "generic", "extra": {"uri": "postgresql+psycopg2://..."}}'
            raise NotFoundError(
                f"Connection {connection!r} has no `extra.uri` in environment variable {name}. Set it to {cure}."
            ) from exc

    return find


def _load(path: Path) -> ModelFolder:
    if not (path / SPEC_FILE).is_file():
        raise NotFoundError(f"{path} has no {SPEC_FILE}. Name a model folder.")
    return load_folder(path)


def _count_expectations(folder: ModelFolder) -> int:
    from trimtab.adapters.gx_validator import GxValidator  # takes seconds

    file = folder.path / folder.spec.validation.suite
    GxValidator(file)
    return len(yaml.safe_load(file.read_text(encoding="utf-8")))


def _read_first_day(folder: ModelFolder, environment: Mapping[str, str]) -> RawBatch | None:
    from trimtab.adapters.sources import open_source  # brings pandas

    spec = folder.spec
    if spec.source.first_day is None:
        return None
    source = open_source(folder, uri_of(environment))
    raw = source.read(spec.source.first_day, [*spec.rows.columns, spec.label.column])
    label_values(raw.rows[spec.label.column].to_numpy(dtype=object), spec.label)  # raises if they are of another task
    return raw


def _source_note(raw: RawBatch | None) -> str:
    if raw is None:
        return "not read: no first_day"
    broken = f", {len(raw.broken)} unreadable" if raw.broken else ""
    return f"{len(raw.rows)} rows{broken}"


def _try_features(folder: ModelFolder, raw: RawBatch | None) -> Sequence[str]:
    """Run the feature code, on the first day's rows if there are some."""
    from trimtab.adapters.model_package import load_feature_code

    spec = folder.spec
    code = load_feature_code(folder.feature_code, spec, str(folder.path / FEATURE_FILE))
    if raw is not None:
        columns = {
            name: typed(raw.rows[name].to_numpy(dtype=object), kind)[0] for name, kind in spec.rows.columns.items()
        }
        _compute(code, columns, folder.path / FEATURE_FILE)
    return spec.features.names


def _compute(code: FeatureCode, columns: Columns, file: Path) -> None:
    try:
        code.compute(columns)
    except TrimtabError:
        raise
    except Exception as exc:  # somebody else's code may raise anything
        problem = f"fails on the rows of first_day ({type(exc).__name__}: {exc}). Mend the code."
        raise SpecError(str(file), "", problem) from exc


def _try_estimators(folder: ModelFolder) -> Sequence[str]:
    for candidate in folder.spec.train.candidates:
        _try_estimator(candidate, folder.spec.features, folder.spec.label.task, f"{folder.path / SPEC_FILE}")
    return [candidate.name for candidate in folder.spec.train.candidates]


def _try_estimator(candidate: CandidateSpec, features: FeaturesSpec, task: Task, file: str) -> None:
    """Fit it to a few made-up rows: scikit-learn checks values of parameters only then."""
    from trimtab.adapters.sklearn_trainer import new_estimator  # takes seconds

    where = f"train.candidates.{candidate.name}.estimator.params"
    random = np.random.default_rng(0)
    numbers = random.random((TRIAL_ROWS, len(features.numeric)))
    codes = random.integers(0, TRIAL_CATEGORIES, (TRIAL_ROWS, len(features.categorical))).astype(np.float64)
    positions = range(len(features.numeric), len(features.names))
    labels = np.arange(TRIAL_ROWS) % 2 if task == "binary" else random.random(TRIAL_ROWS)
    try:
        new_estimator(candidate.estimator, task, positions, 0).fit(np.hstack([numbers, codes]), labels)
    except (ValueError, TypeError) as exc:
        raise SpecError(file, where, f"scikit-learn refuses them: {str(exc)[:300]}") from exc
