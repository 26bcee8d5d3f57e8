"""The registry on a folder: runs, versions and aliases as files, for replays and tests. For one writer at a time."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

import numpy as np

from trimtab.adapters.model_package import PackagedPredictor, checked_package, digest, open_package
from trimtab.adapters.whole_files import DRAFT, write_whole
from trimtab.domain.ports import Alias, DescribedModel, Package, Predictor, Training, TrainingRun
from trimtab.errors import ModelIntegrityError, NotFoundError, RegistryUnavailableError

KEPT_OPEN = 4
"""Models that stay open: champion, challenger and the champion before are asked for again and again."""
State: TypeAlias = dict[str, dict[str, Any]]


class FolderRegistry:
    """Runs, versions and aliases of one model under `<folder>/<model>`.

    Files of a run are written first and their name in `state.json` last, so that a killed try leaves nothing that
    counts; `state.json` is replaced as a whole.
    """

    def __init__(self, folder: Path, model: str) -> None:
        """Bind to a folder, which need not exist."""
        self._folder, self._lock = folder / model, RLock()
        self._opened = lru_cache(maxsize=KEPT_OPEN)(self._open)

    def find_training(self, training_id: str) -> TrainingRun | None:
        """The run of that training, if there is one."""
        for run_id, run in self.state["runs"].items():
            if run["training_id"] == training_id:
                return _run(run_id, run)
        return None

    def log_training(self, training: Training) -> TrainingRun:
        """Store a training as a run."""
        with self._lock:
            found = self.find_training(training.training_id)
            if found:
                return found
            state = self.state
            run_id = f"run{len(state['runs']) + 1}"
            self._write(run_id, "package", training.package)
            self._write(run_id, "figures", training.figures)
            state["runs"][run_id] = {
                "training_id": training.training_id,
                "candidate": training.candidate,
                "digest": digest(training.package),
                "metrics": {name: [value] for name, value in training.metrics.items()},
                "tags": dict(training.tags),
                "params": dict(training.params),
            }
            self._save(state)
            return _run(run_id, state["runs"][run_id])

    def log_evaluation(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], figures: Mapping[str, bytes]
    ) -> None:
        """Add to a run; a metric's history grows only when its value changes."""
        with self._lock:
            state = self.state
            run = _one(state["runs"], run_id, "Run")
            for name, value in metrics.items():
                history = run["metrics"].setdefault(name, [])
                if np.isfinite(value) and history[-1:] != [value]:
                    history.append(value)
            run["tags"].update(tags)
            self._write(run_id, "figures", figures)
            self._save(state)

    def register(self, run_id: str, tags: Mapping[str, str]) -> str:
        """The version of this run."""
        with self._lock:
            state = self.state
            _one(state["runs"], run_id, "Run")
            known = [version for version, one in state["versions"].items() if one["run_id"] == run_id]
            version = known[0] if known else str(len(state["versions"]) + 1)
            state["versions"].setdefault(version, {"run_id": run_id, "tags": {}})["tags"].update(tags)
            self._save(state)
            return version

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._lock:
            state = self.state
            _one(state["versions"], version, "Version")["tags"].update(tags)
            self._save(state)

    def mirror(self, aliases: Mapping[Alias, str | None]) -> None:
        """Set and remove aliases."""
        with self._lock:
            state = self.state
            for alias, version in aliases.items():
                if version is None:
                    state["aliases"].pop(alias, None)
                else:
                    _one(state["versions"], version, "Version")
                    state["aliases"][alias] = version
            self._save(state)

    def digest(self, version: str) -> str:
        """SHA-256 of the package of a version."""
        state = self.state
        run_id = _one(state["versions"], version, "Version")["run_id"]
        return str(_one(state["runs"], run_id, "Run")["digest"])

    def package(self, version: str) -> Package:
        """The files of a version."""
        run_id = str(_one(self.state["versions"], version, "Version")["run_id"])
        return checked_package(self._files(run_id), expected_digest=self.digest(version), name=f"run {run_id}")

    def load(
        self, *, version: str | None = None, run_id: str | None = None, expected_digest: str | None = None
    ) -> Predictor:
        """Open the package of a version or run; the ones used last stay open."""
        state = self.state
        if version is not None:
            run_id = _one(state["versions"], version, "Version")["run_id"]
        digest = _one(state["runs"], str(run_id), "Run")["digest"]
        return self._opened(str(run_id), expected_digest or digest)

    def describe(self, version: str, expected_digest: str | None = None) -> DescribedModel:
        """Open the package of a version."""
        return self.load(version=version, expected_digest=expected_digest)

    @property
    def state(self) -> State:
        """Runs, versions and aliases as they are stored.

        Raises:
            RegistryUnavailableError: If the file cannot be read.
        """
        try:
            state: State = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"runs": {}, "versions": {}, "aliases": {}}
        except (OSError, ValueError) as exc:
            raise RegistryUnavailableError(
                f"Registry {self._folder / 'state.json'} cannot be read ({exc}). Mend the file or its permissions."
            ) from exc
        return state

    def _open(self, run_id: str, expected_digest: str) -> PackagedPredictor:
        return open_package(self._files(run_id), expected_digest=expected_digest, name=f"run {run_id}")

    def _files(self, run_id: str) -> Package:
        folder = self._folder / run_id / "package"
        try:
            return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != DRAFT}
        except OSError as exc:
            raise ModelIntegrityError(
                f"Package of run {run_id} in {folder} cannot be read ({exc.strerror}). Register the model anew."
            ) from exc

    def _save(self, state: State) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / "state.json", json.dumps(state).encode())

    def _write(self, run_id: str, kind: str, files: Mapping[str, bytes]) -> None:
        folder = self._folder / run_id / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(folder / name, content)


def _run(run_id: str, run: Mapping[str, Any]) -> TrainingRun:
    return TrainingRun(run_id=run_id, **{name: run[name] for name in ("training_id", "candidate", "digest")})


def _one(known: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in known:
        raise NotFoundError(f"{kind} {name!r} is not there. There are: {', '.join(sorted(known)) or 'none'}.")
    return known[name]
