"""Where lake, ledger, registry and traffic log are, and opening them for one model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from trimtab.adapters.model_folder import FEATURE_FILE, ModelFolder, find_folder
from trimtab.domain.columns import Columns
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import (
    CollectableLog,
    Lake,
    LogSink,
    MemoryTrial,
    Plotter,
    Registry,
    Source,
    TrafficLog,
    Trainer,
    Validator,
)
from trimtab.errors import NotFoundError

UriOfConnection = Callable[[str], str]
"""Finds the SQLAlchemy URL of a connection id: from Airflow in a task, from the environment elsewhere."""


class StoreAddresses(Protocol):
    """The deployment's facts, each found when it is asked for."""

    @property
    def models(self) -> tuple[Path, ...]:
        """Folders that hold model folders."""
        ...

    @property
    def lake(self) -> str:
        """Folder or object-store URI."""
        ...

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL; may hold a password."""
        ...

    @property
    def registry(self) -> str:
        """MLflow tracking URI."""
        ...

    @property
    def registry_user(self) -> str:
        """Empty: the registry asks for none."""
        ...

    @property
    def registry_password(self) -> str:
        """The user's."""
        ...

    @property
    def traffic(self) -> Path:
        """Folder that the prediction services write their logs to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The deployment's facts, outside Airflow."""

    models: tuple[Path, ...]
    lake: str
    """Folder or object-store URI."""
    ledger: str = field(repr=False)
    """SQLAlchemy URL; may hold a password."""
    registry: str
    """MLflow tracking URI."""
    registry_user: str = ""
    registry_password: str = field(default="", repr=False)
    traffic: Path
    """Folder that the prediction services write their logs to."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Addresses":
        """Read TRIMTAB_MODELS, _LAKE, _LEDGER, _REGISTRY, _TRAFFIC and MLflow's own user and password variables.

        Raises:
            NotFoundError: Naming the first variable that is not set.
        """

        def value(name: str) -> str:
            if not environment.get(name):
                raise NotFoundError(
                    f"Environment variable {name} is not set. `trimtab up` and docker-compose.yaml set it; "
                    "docs/configuration.md lists them all."
                )
            return environment[name]

        return cls(
            models=tuple(Path(part) for part in value("TRIMTAB_MODELS").split(":")),
            lake=value("TRIMTAB_LAKE"),
            ledger=value("TRIMTAB_LEDGER"),
            registry=value("TRIMTAB_REGISTRY"),
            registry_user=environment.get("MLFLOW_TRACKING_USERNAME", ""),
            registry_password=environment.get("MLFLOW_TRACKING_PASSWORD", ""),
            traffic=Path(value("TRIMTAB_TRAFFIC")),
        )


class Stores:
    """All ports of one model, each opened, and its library imported, when it is first used."""

    def __init__(self, addresses: StoreAddresses, model: str, uri_of: UriOfConnection) -> None:
        """Bind; nothing is opened yet."""
        self._addresses, self._model, self._uri_of = addresses, model, uri_of

    @cached_property
    def folder(self) -> ModelFolder:
        """The model folder."""
        return find_folder(self._addresses.models, self._model)

    @cached_property
    def source(self) -> Source:
        """Where the batches come from."""
        from trimtab.adapters.sources import open_source  # noqa: PLC0415

        return open_source(self.folder, self._uri_of)

    @cached_property
    def lake(self) -> Lake:
        """The rows."""
        from trimtab.adapters.delta_lake import DeltaLake  # noqa: PLC0415  # only what a step needs

        return DeltaLake(self._addresses.lake, self._model)

    @cached_property
    def ledger(self) -> Ledger:
        """The decisions."""
        from trimtab.adapters.sql_ledger import SqlLedger, open_engine  # noqa: PLC0415

        return SqlLedger(open_engine(self._addresses.ledger), self._model)

    @cached_property
    def registry(self) -> Registry:
        """The models."""
        from trimtab.adapters.mlflow_connection import MlflowConnection  # noqa: PLC0415
        from trimtab.adapters.mlflow_registry import MlflowRegistry  # noqa: PLC0415

        at = self._addresses
        return MlflowRegistry(
            lambda: MlflowConnection(at.registry, at.registry_user, at.registry_password), self._model
        )

    @cached_property
    def trainer(self) -> Trainer:
        """The estimators."""
        from trimtab.adapters.sklearn_trainer import SklearnTrainer  # noqa: PLC0415

        return SklearnTrainer(self.folder)

    @cached_property
    def memory_trial(self) -> MemoryTrial:
        """What a version needs of memory."""
        from trimtab.adapters.memory_trial import ProcessMemoryTrial  # noqa: PLC0415

        return ProcessMemoryTrial()

    @cached_property
    def features(self) -> Callable[[Columns], Columns]:
        """The model folder's features, without the estimators."""
        from trimtab.adapters.model_package import load_feature_code  # noqa: PLC0415

        code = load_feature_code(self.folder.feature_code, self.folder.spec, str(self.folder.path / FEATURE_FILE))
        return code.compute

    @cached_property
    def plotter(self) -> Plotter:
        """The figures."""
        from trimtab.adapters import figures  # noqa: PLC0415

        return figures

    @cached_property
    def validator(self) -> Validator:
        """The expectations."""
        from trimtab.adapters.gx_validator import GxValidator  # noqa: PLC0415

        return GxValidator(self.folder.path / self.folder.spec.validation.suite)

    @cached_property
    def traffic(self) -> TrafficLog:
        """What the versions have answered: requests, or rows of batches, as the spec says."""
        from trimtab.adapters.lake_traffic import LakeTraffic  # noqa: PLC0415
        from trimtab.adapters.traffic_log import FileTrafficLog  # noqa: PLC0415

        if self.folder.spec.release.traffic == "batch":
            return LakeTraffic(self.lake, self.ledger)
        return FileTrafficLog(self._addresses.traffic, self._model)

    @cached_property
    def logs(self) -> Sequence[CollectableLog]:
        """What the prediction service writes down, to be moved into the lake."""
        from trimtab.adapters.outcome_log import FileOutcomeLog  # noqa: PLC0415
        from trimtab.adapters.traffic_log import FileTrafficLog  # noqa: PLC0415

        folder = self._addresses.traffic
        return FileTrafficLog(folder, self._model), FileOutcomeLog(folder, self._model)

    @cached_property
    def sink(self) -> LogSink:
        """The lake, as logs are moved into it."""
        from trimtab.adapters.delta_lake import DeltaLake  # noqa: PLC0415

        return DeltaLake(self._addresses.lake, self._model)
