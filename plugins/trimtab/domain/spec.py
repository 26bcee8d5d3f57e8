"""The model folder's `model.yaml` as small typed sections. Stages get a section, never the whole."""

import re
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Scalar = bool | int | float | str | None

ColumnType = Literal["number", "number?", "integer", "integer?", "text", "text?"]
"""Type of a column of a row. A question mark allows a missing value."""

Task = Literal["regression", "binary"]
"""What is predicted: a number, or the probability that the label is 1 and not 0."""


class Section(BaseModel):
    """A part of the spec: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CsvSource(Section):
    """Delimited text files, plain or compressed (.gz, .bz2, .zip with one member)."""

    kind: Literal["csv"]
    path: str = Field(
        description="A path, absolute or relative to the model folder; 'package:NAME/...' is a file inside an "
        "installed distribution. '{day}' stands for the ISO date where there is one file a day."
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    missing: tuple[str, ...] = Field(("", "NA"), description="Texts that mean 'no value'.")
    first_day: date | None = Field(None, description="First day for which there is a batch.")
    last_day: date | None = Field(None, description="Last day for which there will be a batch; null: it goes on.")


class ParquetSource(Section):
    """Parquet files."""

    kind: Literal["parquet"]
    path: str = Field(description="As for csv.")
    first_day: date | None = None
    last_day: date | None = None


class DeltaSource(Section):
    """A Delta table of somebody else's."""

    kind: Literal["delta"]
    uri: str = Field(description="Folder or object-store URI of the table.")
    first_day: date | None = None
    last_day: date | None = None


class SqlSource(Section):
    """A query on a database that SQLAlchemy reaches."""

    kind: Literal["sql"]
    connection: str = Field(description="Airflow connection id; its `extra.uri` is the SQLAlchemy URL.")
    query: str = Field(description="A SELECT with the bind parameter :day (ISO date) and an ORDER BY.")
    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _query_takes_a_day(self) -> "SqlSource":
        if not re.search(r":day\b", self.query):
            raise ValueError("the query must select one day with the bind parameter :day")
        return self


Source = Annotated[CsvSource | ParquetSource | DeltaSource | SqlSource, Field(discriminator="kind")]


class DayFromColumn(Section):
    """The event day is written in one column."""

    kind: Literal["column"]
    column: str
    format: str = Field("%Y-%m-%d", description="strptime format; text behind it, such as a time, is not allowed.")


class DayFromParts(Section):
    """The event day is written as year, month and day in three columns."""

    kind: Literal["parts"]
    year: str
    month: str
    day: str


class Lookup(Section):
    """Columns taken from a second file by key; a row without a match gets missing values."""

    path: str = Field(description="A CSV file; paths as for the csv source.")
    by: str = Field(description="Column of the row and of the file; unique in the file.")
    take: dict[str, str] = Field(description="Column of the row: column of the file.")


class RowsSpec(Section):
    """What a row is: its columns as known when the prediction is made, its key and its day."""

    columns: dict[Annotated[str, Field(pattern="^[^_]")], ColumnType] = Field(
        min_length=1, description="Names may not begin with an underscore: those are the lake's own."
    )
    key: tuple[str, ...] = Field(min_length=1, description="Columns that together name a row within its day.")
    event_day: Annotated[DayFromColumn | DayFromParts, Field(discriminator="kind")]
    lookups: tuple[Lookup, ...] = ()

    @property
    def day_columns(self) -> tuple[str, ...]:
        """Columns that the event day is read from."""
        day = self.event_day
        return (day.column,) if isinstance(day, DayFromColumn) else (day.year, day.month, day.day)

    @property
    def looked_up(self) -> frozenset[str]:
        """Columns that a lookup fills, so that the source need not have them."""
        return frozenset(name for lookup in self.lookups for name in lookup.take)

    @property
    def from_source(self) -> tuple[str, ...]:
        """Columns that the source itself must have."""
        return tuple(name for name in self.columns if name not in self.looked_up)

    @model_validator(mode="after")
    def _names_exist(self) -> "RowsSpec":
        wanted = {
            "key": self.key,
            "event_day": self.day_columns,
            "lookups": (*self.looked_up, *(lookup.by for lookup in self.lookups)),
        }
        for field, names in wanted.items():
            unknown = sorted(set(names) - set(self.columns))
            if unknown:
                raise ValueError(f"{field} names {', '.join(map(repr, unknown))}, which rows.columns does not have")
        nullable_keys = [name for name in self.key if self.columns[name].endswith("?")]
        if nullable_keys:
            raise ValueError(f"key column {nullable_keys[0]!r} may not be missing: write its type without '?'")
        return self


class LabelSpec(Section):
    """What happened, and when it becomes known."""

    column: str = Field(description="Numeric column of the source; never part of a row.")
    delay_days: Annotated[int, Field(ge=1, le=366)] = Field(
        1,
        description="Labels of day D are due with the batch of day D + delay_days; if they are late, days wait.",
    )
    task: Task = Field("regression", description="Predict the number; or, binary, the probability of a 1.")
    above: float | None = Field(
        None,
        description="Of a binary label: 1 where the column is above this number, 0 elsewhere; null: the column holds "
        "0 and 1 itself.",
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Of a binary label: recall and precision count a probability from here on as a 1; null: 0.5.",
    )

    @property
    def title(self) -> str:
        """What is predicted, for people: 'air_time', 'arr_delay > 15'."""
        return self.column if self.above is None else f"{self.column} > {self.above:g}"

    @property
    def decision_threshold(self) -> float:
        """Probability from which on a row counts as a 1."""
        return 0.5 if self.threshold is None else self.threshold

    @model_validator(mode="after")
    def _a_number_has_no_classes(self) -> "LabelSpec":
        given = [name for name in ("above", "threshold") if getattr(self, name) is not None]
        if self.task == "regression" and given:
            raise ValueError(f"{given[0]!r} is for a binary label: write 'task: binary', or leave it out")
        return self


class FeaturesSpec(Section):
    """Model inputs: columns of a row, or functions of `features.py` that bear the same name."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All inputs, in the order of the model's matrix."""
        return (*self.numeric, *self.categorical)

    @model_validator(mode="after")
    def _some_and_unique(self) -> "FeaturesSpec":
        if not self.names:
            raise ValueError("at least one numeric or categorical feature is needed")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice")
        return self


class SliceSpec(Section):
    """A group of rows that is looked at on its own: one per value, or one per band of a number."""

    name: str
    column: str = Field(description="A column of the row or a feature.")
    edges: tuple[float, ...] = Field((), description="Ascending; n edges make n + 1 bands. Empty: one per value.")

    @model_validator(mode="after")
    def _ascending(self) -> "SliceSpec":
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must ascend without repetition")
        return self


class ValidateSpec(Section):
    """Great Expectations."""

    suite: str = Field("suite.yaml", description="File in the model folder: a list of type, kwargs and severity.")


class EstimatorSpec(Section):
    """The learning algorithm, as regressor or classifier as the label's task asks."""

    kind: Literal["hist_gradient_boosting"]
    params: dict[str, Scalar] = Field({}, description="Passed to scikit-learn; `trimtab check` tries them.")


class CandidateSpec(Section):
    """One way of training; the best candidate on the hold-out becomes the challenger."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    estimator: EstimatorSpec
    window_days: Annotated[int, Field(ge=2, le=3660)] = Field(
        description="Days before the hold-out to learn from. Two are the least that can be left out in turn."
    )


class TrainSpec(Section):
    """How challengers are made."""

    candidates: tuple[CandidateSpec, ...] = Field(min_length=1)
    holdout_days: Annotated[int, Field(ge=2, le=366)] = Field(
        7, description="Most recent labelled days, kept from training and used by the gate."
    )
    min_rows: Annotated[int, Field(ge=10)] = 500
    seed: int = 0

    @property
    def shortest_window_days(self) -> int:
        """Window of the candidate that follows the world most closely."""
        return min(candidate.window_days for candidate in self.candidates)


class GateSpec(Section):
    """What a challenger must show on the hold-out."""

    significance: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.05, description="One-sided level of the paired tests against the champion and the trivial baseline."
    )
    baseline_by: tuple[str, ...] = Field(
        (),
        description="The trivial baseline is the mean label (the share of 1 of a binary one) of rows that agree in "
        "these columns; empty: of all rows.",
    )
    min_days: Annotated[int, Field(ge=3)] = Field(5, description="Labelled days needed; fewer is no evidence.")
    min_rows: Annotated[int, Field(ge=1)] = Field(100, description="Labelled rows needed; fewer is no evidence.")
    min_slice_rows: Annotated[int, Field(ge=1)] = Field(50, description="Smaller slices are reported, not judged.")
    margin: Fraction = Field(
        0.1,
        description="Share of the error that counts as no worse, for a slice against the champion and overall against "
        "the trivial baseline.",
    )


class StepSpec(Section):
    """A stage of a release on live traffic."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    share: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Share of the traffic that the challenger answers; 0 is a shadow. All of it is `live`."
    )
    requests: Annotated[int, Field(ge=1)] = Field(
        description="Rows that the challenger must have predicted. So many without a failure rule out that it fails on "
        "more than about 4 / requests of them, which is what the step must show; with failures it takes more rows."
    )
    labels: Annotated[int, Field(ge=0)] = Field(
        0, description="Labelled rows that the step must have seen; 0: what comes is judged, and not waited for."
    )


class GuardsSpec(Section):
    """What sends a challenger back while it is on trial."""

    false_rollbacks: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.05,
        description="Probability that a challenger as good as the champion is sent back: all guards and steps.",
    )
    latency_ratio: Annotated[float, Field(gt=1)] = Field(
        1.5, description="Times that the challenger may take as long as the champion, in the median and in the tail."
    )
    memory_ratio: Annotated[float, Field(gt=1)] | None = Field(
        1.5,
        description="Times the memory of the champion that the challenger may need: of a process that opens it and "
        "predicts, libraries and all. null: it is not measured.",
    )
    output_shift: Annotated[float, Field(gt=0)] = Field(
        0.5,
        description="Change of the mean difference between the predictions of the two versions from the shadow to the "
        "canary, in standard deviations of the champion's, that other traffic may bring about, or a share of few keys.",
    )


class ReleaseSpec(Section):
    """How a challenger takes over."""

    automation: Literal["approve", "optional", "full"] = Field(
        "approve",
        description="Who says yes: a person; a person, who may skip it when starting a training by hand; or the gate.",
    )
    approval_hours: Annotated[float, Field(gt=0)] = Field(24, description="No answer by then is a no.")
    traffic: Literal["online", "batch"] = Field(
        "online", description="What the shares are of: requests to the prediction service, or rows scored in the lake."
    )
    second: Literal["wait", "replace"] = Field(
        "wait",
        description="What a release does that is requested while another is on its way: wait for it to end, or send it "
        "back if it is not live yet.",
    )
    steps: tuple[StepSpec, ...] = (
        StepSpec(name="shadow", share=0.0, requests=400),
        StepSpec(name="canary_5", share=0.05, requests=100),
        StepSpec(name="canary_50", share=0.5, requests=400),
    )
    guards: GuardsSpec = GuardsSpec()
    hold_hours: Annotated[float, Field(gt=0)] = Field(24, description="A step short of evidence by then is held.")
    bake_days: Annotated[int, Field(ge=2)] = Field(
        3, description="Labelled days after going live before it is done; a comparison needs two."
    )

    @model_validator(mode="after")
    def _shares_rise(self) -> "ReleaseSpec":
        shares = [step.share for step in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError("the shares of the steps must rise")
        names = [step.name for step in self.steps]
        reserved = {"approve", "live", "bake", "rollback", "release"}
        if len(set(names)) < len(names) or reserved & set(names):
            raise ValueError(f"step names must be unique and none of {', '.join(sorted(reserved))}")
        return self


class MonitorSpec(Section):
    """How much certainty a verdict needs, and about what."""

    false_alarms_per_year: Annotated[float, Field(gt=0, le=12)] = Field(
        0.05,
        description="Expected false alarms about inputs, predictions and volume in a year without change, all features "
        "and horizons together. Each costs a person's attention.",
    )
    false_decays_per_year: Annotated[float, Field(gt=0, le=12)] = Field(
        1.0,
        description="Expected false alarms about the errors in a year without change: half about all rows, half about "
        "the slices. Each costs a training, which the gate judges.",
    )
    smallest_shift: Annotated[float, Field(gt=0, le=1)] = Field(
        0.05,
        description="Smallest shift of an input or of the predictions that is worth knowing, in standard deviations. "
        "What is nearer to no shift than to this one is never a finding.",
    )
    smallest_change: Fraction = Field(
        0.0, description="Rise of the mean loss, as a share, below which nobody needs to know."
    )
    smallest_saving: Fraction = Field(
        0.1,
        description="Share of the loss that a shift by last week's errors must save before the model counts as stale.",
    )
    features: tuple[str, ...] = Field(
        (), description="Inputs that are judged; the budget is spread over fewer signals. Empty: all."
    )


class RetrainSpec(Section):
    """When a training is begun, or tried. The waits of trials grow while trials are not worth it (ADR 17)."""

    cooldown_days: Annotated[int, Field(ge=0)] = Field(7, description="Days between two retrainings.")
    harder_cooldown_days: Annotated[int, Field(ge=0)] = Field(
        14,
        description="The same where the errors have grown and the model does not look stale: the world may be harder, "
        "and a training is a trial.",
    )
    trial_after_windows: Annotated[float, Field(gt=0)] | None = Field(
        1.0,
        description="A trial although nothing looks wrong, after so many times the days that a training takes, window "
        "and hold-out; of a younger model, the days that it had to learn from. null: never.",
    )
    on_drift: bool = Field(
        default=False,
        description="A trial also where only inputs or predictions have moved, for labels that come late.",
    )
    recalibrate: bool = Field(
        default=True,
        description="Where the level alone is off, release the champion with its level corrected before anything is "
        "trained, if the gate lets it.",
    )
    max_per_month: Annotated[int, Field(ge=1)] = Field(4, description="Retrainings within 30 days.")
    max_age_days: Annotated[int, Field(ge=1)] | None = Field(None, description="Retrain at this age anyway.")
    every_days: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Retrain so many days after the last training anyway."
    )


class ModelSpec(Section):
    """The index of a model folder's sections. It has no settings of its own."""

    spec_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,39}$")]
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    source: Source
    rows: RowsSpec
    label: LabelSpec
    features: FeaturesSpec
    slices: tuple[SliceSpec, ...] = ()
    validation: ValidateSpec = Field(ValidateSpec(), alias="validate")
    train: TrainSpec
    gate: GateSpec = GateSpec()
    release: ReleaseSpec = ReleaseSpec()
    monitor: MonitorSpec = MonitorSpec()
    retrain: RetrainSpec = RetrainSpec()

    @model_validator(mode="after")
    def _label_is_not_a_column(self) -> "ModelSpec":
        if self.label.column in self.rows.columns:
            raise ValueError(
                f"label column {self.label.column!r} is in rows.columns too: the model would see the answer"
            )
        return self

    @model_validator(mode="after")
    def _groups_exist(self) -> "ModelSpec":
        unknown = sorted(set(self.gate.baseline_by) - set(self.rows.columns))
        if unknown:
            raise ValueError(f"gate.baseline_by names {unknown[0]!r}, which rows.columns does not have")
        unjudged = sorted(set(self.monitor.features) - set(self.features.names))
        if unjudged:
            raise ValueError(f"monitor.features names {unjudged[0]!r}, which is no feature")
        known = {*self.rows.columns, *self.features.names}
        for group in self.slices:
            if group.column not in known:
                raise ValueError(f"slice {group.name!r} names {group.column!r}, neither a column nor a feature")
            if group.edges and self.rows.columns.get(group.column, "number").startswith("text"):
                raise ValueError(f"slice {group.name!r} has edges, and its column {group.column!r} is a text")
        return self


def is_inside(path: str) -> bool:
    """Whether a path of a folder's file stays inside that folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts
