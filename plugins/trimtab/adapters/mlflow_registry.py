"""The registry on an MLflow tracking server: an experiment, and a registered model, for each model.

MLflow has no idempotency keys and no compare-and-set. So every write looks first, by run id or by our own tags, and
where two writers can still meet, it looks again afterwards and all of them agree on the first.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from trimtab.adapters import logged_model, model_package, package_copies
from trimtab.adapters.mlflow_connection import MlflowConnection, despite_rivals, unless
from trimtab.adapters.model_folder import FEATURE_FILE, SPEC_FILE
from trimtab.domain.ports import Alias, DescribedModel, Package, Predictor, Training, TrainingRun
from trimtab.errors import ModelIntegrityError, NotFoundError

TRAINING_ID = "trimtab.training_id"
CANDIDATE = "trimtab.candidate"
DIGEST = "trimtab.digest"
AS_OF = "as_of"
SUMMARY = "summary"
"""A tag by this name becomes the description of a run or version, which MLflow's pages show in full."""
DESCRIPTION = "mlflow.note.content"
"""MLflow's own tag for the description of an experiment or a run."""

Item = TypeVar("Item")
Opened = TypeVar("Opened")

BATCH = 100
"""Params, tags or metrics in one request; MLflow allows 100, 100 and 1,000."""
PRESENT = "RESOURCE_ALREADY_EXISTS"
ABSENT = "RESOURCE_DOES_NOT_EXIST"


CLASSIC = "workflowType=machine_learning"
"""Without it MLflow's pages open in a mode for language models."""


class MlflowRegistry:
    """The registry of one model on an MLflow server."""

    def __init__(self, connect: Callable[[], MlflowConnection], model: str) -> None:
        """Bind to a server; it is connected to when something must be asked, which a package at hand is not."""
        self._connect, self._model = connect, model

    @cached_property
    def _connection(self) -> MlflowConnection:
        return self._connect()

    @property
    def _client(self) -> MlflowClient:
        return self._connection.client

    @property
    def _uri(self) -> str:
        return self._connection.uri

    @property
    def versions_page(self) -> str:
        """Address of the page with the model's versions."""
        return f"{self._uri}/#/models/{self._model}?{CLASSIC}"

    def comparison_page(self) -> str:
        """Address of the page that compares the runs of all versions."""
        with self._connection.answering():
            versions = self._client.search_model_versions(f"name = '{self._model}'")
            experiment = self._client.get_experiment_by_name(self._model)
        runs = json.dumps([version.run_id for version in versions], separators=(",", ":"))
        experiments = json.dumps([experiment.experiment_id] if experiment else [])
        return f"{self._uri}/#/compare-runs?runs={quote(runs)}&experiments={quote(experiments)}&{CLASSIC}"

    def find_training(self, training_id: str) -> TrainingRun | None:
        """The finished run of that training that ended first, if there is one."""
        with self._connection.answering():
            experiment = self._client.get_experiment_by_name(self._model)
            return _first_finished(self._runs(experiment.experiment_id, training_id)) if experiment else None

    def log_training(self, training: Training) -> TrainingRun:
        """Store the training as a run; the one there is, if it was stored before. What a killed try left is deleted."""
        with self._connection.answering():
            experiment_id = self._experiment(training)
            tries = self._runs(experiment_id, training.training_id)
            if first := _first_finished(tries):
                return first
            for killed in tries:
                self._delete(killed)
            run = self._create_run(experiment_id, training)
        with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
            self._log(run, training, Path(folder))
        with self._connection.answering():
            self._client.set_terminated(run.info.run_id, "FINISHED")
            first = _first_finished(self._runs(experiment_id, training.training_id))
        return first or _training_run(run)

    def log_evaluation(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], figures: Mapping[str, bytes]
    ) -> None:
        """Add metrics, tags and figures to a run; what is there already is not sent again.

        A metric that is not a finite number is left out. One that has changed becomes the next step of its history.
        """
        with self._connection.answering():
            run = self._run(run_id)
            self._log_metrics(run, metrics, _model_id(run))
            missing = {name: value for name, value in _described(tags).items() if run.data.tags.get(name) != value}
            for batch in _batches([RunTag(name, value) for name, value in missing.items()]):
                self._client.log_batch(run_id, tags=batch)
            self._upload(run_id, figures)

    def register(self, run_id: str, tags: Mapping[str, str]) -> str:
        """The version of this run: the one there is, or a new one. Sets the tags.

        Raises:
            NotFoundError: If there is no such run, or it has no model.
        """
        with self._connection.answering():
            versions = self._versions(run_id)
            if not versions:
                mine = self._create_version(run_id, tags)
                versions = self._versions(run_id)
                if versions[0].version != mine.version:  # another writer was faster
                    self._client.delete_model_version(self._model, mine.version)
            self._tag(versions[0], tags)
            return str(versions[0].version)

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version.

        Raises:
            NotFoundError: If there is no such version.
        """
        with self._connection.answering():
            self._tag(self._client.get_model_version(self._model, version), tags)

    def mirror(self, aliases: Mapping[Alias, str | None]) -> None:
        """Make the aliases say what the ledger says; None removes one.

        Raises:
            NotFoundError: If there is no such version.
        """
        with self._connection.answering():
            present = self._aliases()
            for alias, version in aliases.items():
                if present.get(alias) != version:
                    self._set_alias(alias, version)

    def digest(self, version: str) -> str:
        """SHA-256 of the package of a version.

        Raises:
            NotFoundError: If there is none.
        """
        with self._connection.answering():
            return str(self._client.get_model_version(self._model, version).tags.get(DIGEST, ""))

    def package(self, version: str) -> Package:
        """The files of a version.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If they are not those that were stored.
        """
        return self._open_version(version, None, model_package.checked_package)

    def load(
        self, *, version: str | None = None, run_id: str | None = None, expected_digest: str | None = None
    ) -> Predictor:
        """Open the model of a version or of a run. A package that was fetched before is not fetched again.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If its files are not those that were stored, or were expected.
        """
        if version is not None:
            return self._open_version(version, expected_digest, model_package.open_package)
        if run_id is None:
            raise ValueError("one of version and run_id is needed")
        with self._connection.answering():
            tags = self._run(run_id).data.tags
            return self._open(run_id, tags.get(DIGEST, ""), self._named(f"run {run_id}"), model_package.open_package)

    def describe(self, version: str, expected_digest: str | None = None) -> DescribedModel:
        """The model of a version without its estimator, which takes longer to open than all the rest.

        Raises:
            NotFoundError: If there is none.
            ModelIntegrityError: If its files are not those that were stored, or were expected.
        """
        return self._open_version(version, expected_digest, model_package.describe_package)

    def _experiment(self, training: Training) -> str:
        if experiment := self._client.get_experiment_by_name(self._model):
            return str(experiment.experiment_id)
        spec = logged_model.spec_of(training.package)
        with unless(PRESENT):
            note = f"{spec.description}\n\nOwner: {spec.owner}"
            self._client.create_experiment(self._model, tags={DESCRIPTION: note})
        return self._experiment(training)

    def _runs(self, experiment_id: str, training_id: str) -> Sequence[Run]:
        runs: Sequence[Run] = self._client.search_runs([experiment_id], f"tags.`{TRAINING_ID}` = '{training_id}'")
        return runs

    def _delete(self, run: Run) -> None:
        """Delete a run, its model first: a model alone would be found no more."""
        mine = f"source_run_id = '{run.info.run_id}'"
        for model in self._client.search_logged_models([run.info.experiment_id], mine):
            self._client.delete_logged_model(model.model_id)
        self._client.delete_run(run.info.run_id)

    def _create_run(self, experiment_id: str, training: Training) -> Run:
        tags = {
            **_described(training.tags),
            TRAINING_ID: training.training_id,
            CANDIDATE: training.candidate,
            DIGEST: model_package.digest(training.package),
            "mlflow.user": self._connection.user or "trimtab",
            "mlflow.source.name": "trimtab",
            "mlflow.source.type": "JOB",
        }
        name = f"{training.candidate} {training.tags.get(AS_OF, '')}".strip()
        return self._client.create_run(experiment_id, tags=tags, run_name=name)

    def _log(self, run: Run, training: Training, folder: Path) -> None:
        """Everything but the mark that the run is finished."""
        run_id = run.info.run_id
        with self._connection.answering():
            model = self._client.create_logged_model(
                run.info.experiment_id,
                name=training.candidate,
                source_run_id=run_id,
                tags={DIGEST: run.data.tags[DIGEST]},
                params=dict(training.params),
                model_type=logged_model.model_type(logged_model.spec_of(training.package)),
            )
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            for batch in _batches([Param(name, value) for name, value in training.params.items()]):
                self._client.log_batch(run_id, params=batch)
            self._log_metrics(run, training.metrics, model.model_id)
            dataset = logged_model.dataset_input(training)
            despite_rivals(lambda: self._client.log_inputs(run_id, datasets=[dataset]))
        location = model.artifact_location
        mlmodel = Model(artifact_path=location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id)
        logged_model.save(training, folder / "model", mlmodel)
        with self._connection.answering():
            self._client.log_model_artifacts(model.model_id, str(folder / "model"))
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            code = {f"code/{name}": training.package[name] for name in (FEATURE_FILE, SPEC_FILE)}
            # Figures lie at the top: MLflow's comparison page shows files side by side only from there.
            self._upload(run_id, {**code, **training.figures})

    def _log_metrics(self, run: Run, metrics: Mapping[str, float], model_id: str) -> None:
        """Log what is new. Step and time depend on nothing but the run: the same point twice is one point."""
        present = run.data.metrics
        points = [
            Metric(name, value, run.info.start_time + step, step, model_id=model_id, run_id=run.info.run_id)
            for name, value in metrics.items()
            if math.isfinite(value) and present.get(name) != value
            for step in [self._next_step(run, name)]
        ]
        for batch in _batches(points):
            self._client.log_batch(run.info.run_id, metrics=batch)

    def _next_step(self, run: Run, metric: str) -> int:
        if metric not in run.data.metrics:
            return 0
        return 1 + max(point.step for point in self._client.get_metric_history(run.info.run_id, metric))

    def _upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
            logged_model.write_files(files, Path(folder))
            self._client.log_artifacts(run_id, folder)

    def _run(self, run_id: str) -> Run:
        run = self._client.get_run(run_id)
        if run.info.lifecycle_stage != "active" or not _model_id(run):
            raise NotFoundError(f"Run {run_id} of model {self._model!r} is deleted or has no model. Train again.")
        return run

    def _versions(self, run_id: str) -> list[ModelVersion]:
        """Versions of a run, the first one first."""
        found = self._client.search_model_versions(f"name = '{self._model}' and run_id = '{run_id}'")
        return sorted(found, key=lambda version: int(version.version))

    def _create_version(self, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        run = self._run(run_id)
        experiment = self._client.get_experiment(run.info.experiment_id)
        with unless(PRESENT):
            self._client.create_registered_model(self._model, description=experiment.tags.get(DESCRIPTION))
        return self._client.create_model_version(
            self._model,
            source=f"models:/{_model_id(run)}",
            run_id=run_id,
            tags={**_without_summary(tags), **{name: run.data.tags[name] for name in (CANDIDATE, DIGEST)}},
            description=tags.get(SUMMARY),
            await_creation_for=0,
            model_id=_model_id(run),
        )

    def _tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        number = str(version.version)
        for name, value in _without_summary(tags).items():
            if version.tags.get(name) != value:
                self._client.set_model_version_tag(self._model, number, name, value)
        if tags.get(SUMMARY, version.description) != version.description:
            self._client.update_model_version(self._model, number, description=tags[SUMMARY])

    def _aliases(self) -> Mapping[str, str]:
        present: Mapping[str, str] = {}
        with unless(ABSENT):
            present = self._client.get_registered_model(self._model).aliases
        return {alias: str(version) for alias, version in present.items()}

    def _set_alias(self, alias: Alias, version: str | None) -> None:
        if version is None:
            self._client.delete_registered_model_alias(self._model, alias)
        else:
            despite_rivals(lambda: self._client.set_registered_model_alias(self._model, alias, version))

    def _named(self, which: str) -> str:
        return f"model {self._model!r}, {which}"

    def _open_version(self, version: str, expected_digest: str | None, opening: Callable[..., Opened]) -> Opened:
        """Open a version: a copy of the expected package without a word to the server."""
        name = self._named(f"version {version}")
        if expected_digest and (opened := _opened_copy(expected_digest, name, opening)):
            return opened
        with self._connection.answering():
            found = self._client.get_model_version(self._model, version)
            digest = found.tags.get(DIGEST, "")
            if expected_digest not in (None, digest):
                raise ModelIntegrityError(
                    f"Package of {name} is not the one whose release was requested: MLflow's tag {DIGEST} has changed. "
                    "It is not loaded; restore the tag, or release the version anew."
                )
            return self._open(str(found.run_id), digest, name, opening)

    def _open(self, run_id: str, digest: str, name: str, opening: Callable[..., Opened]) -> Opened:
        """Open the local copy of a package; without one, or if it has been spoilt, the registry's own."""
        if opened := _opened_copy(digest, name, opening):
            return opened
        package = self._fetch(run_id)
        opened = opening(package, expected_digest=digest, name=name)
        package_copies.store_copy(digest, package)
        return opened

    def _fetch(self, run_id: str) -> Package:
        model = self._client.get_logged_model(_model_id(self._run(run_id)))
        location = f"{model.artifact_location}/{logged_model.PACKAGE_FOLDER}"
        with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
            files = get_artifact_repository(location, tracking_uri=self._connection.uri)
            files.download_artifacts("", folder)  # type: ignore[no-untyped-call]
            return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}


def _opened_copy(digest: str, name: str, opening: Callable[..., Opened]) -> Opened | None:
    """The package that lies on the local disk, if it is whole."""
    if copy := package_copies.load_copy(digest):
        with suppress(ModelIntegrityError):
            return opening(copy, expected_digest=digest, name=name)
    return None


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _without_summary(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name != SUMMARY}


def _described(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a run, with the summary where MLflow has its description."""
    return {DESCRIPTION if name == SUMMARY else name: value for name, value in tags.items()}


def _model_id(run: Run) -> str:
    outputs = run.outputs.model_outputs if run.outputs else []
    return str(outputs[0].model_id) if outputs else ""


def _first_finished(runs: Sequence[Run]) -> TrainingRun | None:
    finished = [run for run in runs if run.info.status == "FINISHED"]
    first = min(finished, key=lambda run: (run.info.end_time, run.info.run_id), default=None)
    return _training_run(first) if first else None


def _training_run(run: Run) -> TrainingRun:
    tags = run.data.tags
    return TrainingRun(
        run_id=run.info.run_id, training_id=tags[TRAINING_ID], candidate=tags[CANDIDATE], digest=tags[DIGEST]
    )
