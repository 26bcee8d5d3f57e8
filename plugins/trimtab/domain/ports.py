"""What the stages need from the outside, all bound to one model. `trimtab.adapters` has the implementations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from trimtab.domain.columns import Columns, Encoder
    from trimtab.domain.guards import ArmTraffic
    from trimtab.domain.memory import MemoryUse
    from trimtab.domain.metrics import Errors, FloatArray
    from trimtab.domain.profiles import ColumnBins, Reference
    from trimtab.domain.release import Routing
    from trimtab.domain.spec import CandidateSpec, ModelSpec

Table = Literal[
    "landing", "batches", "quarantine", "labels", "predictions", "profiles", "label_profiles", "served", "outcomes"
]
Alias = Literal["champion", "challenger", "shadow"]
BATCH = "batch"
"""Part of the predictions that were made for whole batches."""
Severity = Literal["critical", "warning", "info"]
Package: TypeAlias = Mapping[str, bytes]
"""Files of a trained model by name: estimator, feature code, spec, encoder, reference; its correction, if any."""


class Lake(Protocol):
    """Rows of one model: a table each, partitioned by day and part."""

    def write(self, table: Table, day: date, frame: pd.DataFrame, part: str = "all") -> None:
        """Make `frame` the whole content of this day and part, in one atomic commit; nothing, if it already is."""
        ...

    def read(
        self,
        table: Table,
        first: date,
        last: date,
        *,
        columns: Sequence[str] | None = None,
        part: str | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Rows of the days first to last, both included, in the order they were written.

        As of a version of the table if that is given; empty and without columns if the table does not exist.

        Raises:
            NotFoundError: If the table can no longer be read as of that version.
        """
        ...

    def days(self, table: Table) -> Sequence[date]:
        """Days that have rows, ascending."""
        ...

    def version(self, table: Table) -> int:
        """Version of the table: the data set version; -1 if the table does not exist."""
        ...


class LogSink(Protocol):
    """A lake as logs are moved into it."""

    def append(self, table: Table, rows: pd.DataFrame, part: str, *, log: str, number: int) -> None:
        """Add rows to their days (`_day`, ISO), once and in one atomic commit.

        Nothing happens if that log has added a batch of this number or a later one to the table before.
        """
        ...

    def last_number(self, table: Table, log: str) -> int:
        """Number of the last batch that the log has added to the table; 0 if there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Rows of a log on their way into the lake."""

    log: str
    """Names the log for ever."""
    number: int
    """Grows from batch to batch; a batch that comes again has the same rows under the same number."""
    frames: Mapping[Table, pd.DataFrame]
    """Rows by table, each with its `_day`."""


class CollectableLog(Protocol):
    """What a service writes down as it happens."""

    def batches(self, lake: LogSink) -> Iterator[LogBatch]:
        """What is not in the lake yet; a batch is forgotten when the next one is asked for. One caller at a time."""
        ...

    def pending(self) -> Mapping[Table, pd.DataFrame]:
        """What may not be in the lake yet, by table; a batch that is on its way is here, and may be there too."""
        ...


class Source(Protocol):
    """Where batches come from."""

    def is_ready(self, day: date) -> bool:
        """Whether it makes sense to read the day now. Cheap: no rows are read."""
        ...

    def read(self, day: date, columns: Sequence[str]) -> RawBatch:
        """The rows of one day as they are, every value a text; `columns` are those that are needed.

        Raises:
            BatchMissingError: If there is no row for that day.
            SourceUnreadableError: If the file or table cannot be read.
            DataContractError: If a column that is needed is not there.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch:
    """A day's rows as the source has them."""

    rows: pd.DataFrame
    """The needed columns as text (None: missing), plus `_row`: position in the source, from 0."""
    broken: Sequence[BrokenRow]
    """Rows that could not even be split into columns, or whose day cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRow:
    """A row that cannot go on, and why."""

    row: int
    reason: str
    raw: str
    """The row as it was, cut at 2,000 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationResult:
    """Outcome of one expectation on one batch."""

    expectation: str
    """Type and column, such as 'expect_column_values_to_not_be_null(distance)'."""
    severity: Severity
    success: bool
    observed: str
    unexpected_rows: tuple[int, ...]
    """`_row` of each row that breaks it; empty if it is not about single rows."""
    per_row: bool
    """Whether it judges single rows."""


class Validator(Protocol):
    """Expectations of the model folder's suite."""

    def validate(self, batch: pd.DataFrame) -> Sequence[ExpectationResult]:
        """Judge a batch; every expectation of the suite has a result, one that raised is a critical failure."""
        ...


class DescribedModel(Protocol):
    """What a trained model was made with and compared with."""

    @property
    def spec(self) -> ModelSpec:
        """The spec that it was trained with."""
        ...

    @property
    def reference(self) -> Reference:
        """Its frozen drift reference."""
        ...

    @property
    def bins(self) -> Mapping[str, ColumnBins]:
        """How the reference counts each column; cheaper than the whole reference."""
        ...

    @property
    def label_bins(self) -> ColumnBins | None:
        """How it counts labels, as cheap; None in a package that was made before they were counted."""
        ...

    def features(self, rows: Columns) -> Columns:
        """Features (n each) of rows (n each)."""
        ...


class Predictor(DescribedModel, Protocol):
    """A trained model with its feature code: the same object in training, batch scoring and serving."""

    def predict(self, rows: Columns) -> FloatArray:
        """Predictions (n,) for rows (n each)."""
        ...

    def predict_features(self, features: Columns) -> FloatArray:
        """Predictions (n,) for features (n each) that this model has computed."""
        ...


class Fitted(Protocol):
    """An estimator that has been fitted."""

    def predict(self, matrix: FloatArray) -> FloatArray:
        """Predictions (n,) for a matrix (n, p)."""
        ...


class Trainer(Protocol):
    """The model folder's feature code and its estimators."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of spec and feature code."""
        ...

    def features(self, rows: Columns) -> Columns:
        """Features (n each) of rows (n each)."""
        ...

    def fit(
        self, candidate: CandidateSpec, encoder: Encoder, matrix: FloatArray, y_true: FloatArray, seed: int
    ) -> Fitted:
        """Fit a candidate to a matrix (n, p) and labels (n,); the same arguments give the same estimator."""
        ...

    def pack(self, fitted: Fitted, encoder: Encoder, reference: Reference) -> Package:
        """The files of a model that this trainer has fitted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A finished training on its way to the registry."""

    training_id: str
    """Names the training by its inputs: the same inputs, the same id."""
    candidate: str
    package: Package
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: pd.DataFrame
    """The training rows, for the registry's data set record."""
    dataset_source: str
    example: pd.DataFrame
    """A few rows as a client would send them."""
    figures: Mapping[str, bytes]
    """PNG files by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A training as the registry has it."""

    run_id: str
    training_id: str
    candidate: str
    digest: str
    """SHA-256 of the package."""


class Registry(Protocol):
    """Runs, versions and aliases of one model. Every method raises RegistryUnavailableError within 30 s."""

    def find_training(self, training_id: str) -> TrainingRun | None:
        """The finished run of that training, if there is one."""
        ...

    def log_training(self, training: Training) -> TrainingRun:
        """Store the training as a run; the one there is, if it was stored before."""
        ...

    def log_evaluation(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], figures: Mapping[str, bytes]
    ) -> None:
        """Add what the evaluation found to a run. Repeating it changes nothing."""
        ...

    def register(self, run_id: str, tags: Mapping[str, str]) -> str:
        """The version of this run: the one there is, or a new one. Sets the tags."""
        ...

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        ...

    def mirror(self, aliases: Mapping[Alias, str | None]) -> None:
        """Make the aliases say what the ledger says; None removes one."""
        ...

    def digest(self, version: str) -> str:
        """SHA-256 of the package of a version.

        Raises:
            NotFoundError: If there is none.
        """
        ...

    def package(self, version: str) -> Package:
        """The files of a version.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If they are not those that were stored.
        """
        ...

    def load(
        self, *, version: str | None = None, run_id: str | None = None, expected_digest: str | None = None
    ) -> Predictor:
        """Open the model of a version or of a run.

        Args:
            version: Version of the registered model.
            run_id: Run of a training, where there is no version.
            expected_digest: What the ledger knows the version's package by. A package with another one is not opened;
                a copy with this one need not be asked for.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If its files are not those that were stored, or were expected.
        """
        ...

    def describe(self, version: str, expected_digest: str | None = None) -> DescribedModel:
        """The model of a version without its estimator, which takes longer to open than all the rest.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If its files are not those that were stored.
        """
        ...


class Plotter(Protocol):
    """Figures as PNG files; `label` names what is predicted, `loss` what the errors are, such as 'MAE of air_time'."""

    def daily_errors(self, means: Mapping[str, Mapping[date, float]], *, loss: str) -> bytes:
        """Lines of the mean loss: name of the model, then day."""
        ...

    def slice_errors(self, slicing: str, errors: Mapping[str, Mapping[str, Errors]], *, loss: str) -> bytes:
        """Bars of the mean loss: name of the model, then slice."""
        ...

    def predicted_against_actual(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        """Predictions (n,) over labels (n,)."""
        ...

    def residuals(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        """Histogram of prediction minus label."""
        ...

    def calibration(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        """Share of 1 over the predicted probability (n,)."""
        ...

    def probabilities(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        """Histograms of the predicted probability (n,) where the label is 0 and where it is 1."""
        ...


class MemoryTrial(Protocol):
    """Finds out how much memory a version needs."""

    def measure(self, package: Package, rows: Columns) -> MemoryUse:
        """Of a process of its own that opens the package and predicts the rows (n each) again and again.

        Raises:
            MemoryTrialError: If it does not get through.
        """
        ...


class TrafficLog(Protocol):
    """What the prediction service has answered."""

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        """Traffic of each version since that routing began."""
        ...
