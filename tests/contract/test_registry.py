"""What every registry promises, and what a real MLflow server adds: killed tries, rivals, and servers that fail."""

import itertools
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from doubles import tiny_rows, tiny_training
from mlflow_servers import MlflowServer, Relay, free_port
from trimtab.adapters import package_copies
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.mlflow_connection import MlflowConnection
from trimtab.adapters.mlflow_registry import DESCRIPTION, MlflowRegistry
from trimtab.adapters.model_package import digest
from trimtab.domain.ports import Registry
from trimtab.domain.recalibration import Calibration, Correction, calibrated
from trimtab.errors import ModelIntegrityError, NotFoundError, RegistryUnavailableError, TrimtabError

PNG = b"\x89PNG\r\n\x1a\n"
BOUND_SECONDS = 30
WRITERS = 8
numbers = itertools.count()
# About MLflow's own code; the adapter silences it for users, and pytest brings it back.
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range is deprecated")


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


class Case(Protocol):
    """A registry, and a look behind it."""

    def open(self) -> Registry:
        """The registry, as a new process would open it."""
        ...

    def history(self, run_id: str, metric: str) -> Sequence[float]:
        """All points of a metric."""
        ...

    def aliases(self) -> Mapping[str, str]:
        """The aliases."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Version: its run."""
        ...

    def tags(self, version: str) -> Mapping[str, str]:
        """Tags of a version."""
        ...

    def package_file(self, run_id: str, name: str) -> Path:
        """Where a file of a package lies."""
        ...


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of packages that no other test has made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trimtab" / "packages"


def mlflow_registry(uri: str, model: str, user: str = "", password: str = "") -> MlflowRegistry:
    """A registry on a server."""
    return MlflowRegistry(lambda: MlflowConnection(uri, user, password), model)


class FolderCase:
    """The double."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> FolderRegistry:
        return FolderRegistry(self._folder, "flights")

    def history(self, run_id: str, metric: str) -> Sequence[float]:
        return list(self.open().state["runs"][run_id]["metrics"].get(metric, []))

    def aliases(self) -> Mapping[str, str]:
        return self.open().state["aliases"]

    def versions(self) -> Mapping[str, str]:
        return {version: one["run_id"] for version, one in self.open().state["versions"].items()}

    def tags(self, version: str) -> Mapping[str, str]:
        tags: Mapping[str, str] = self.open().state["versions"][version]["tags"]
        return tags

    def package_file(self, run_id: str, name: str) -> Path:
        return self._folder / "flights" / run_id / "package" / name


class MlflowCase:
    """A model of its own on the real server."""

    def __init__(self, server: MlflowServer) -> None:
        self.server, self.model = server, f"flights_{next(numbers)}"

    def open(self, uri: str = "") -> MlflowRegistry:
        return mlflow_registry(uri or self.server.uri, self.model, self.server.user, self.server.password)

    @property
    def client(self) -> MlflowClient:
        self.open()
        return MlflowClient(self.server.uri, self.server.uri)

    def history(self, run_id: str, metric: str) -> Sequence[float]:
        return [point.value for point in self.client.get_metric_history(run_id, metric)]

    def aliases(self) -> Mapping[str, str]:
        return {name: str(one) for name, one in self.client.get_registered_model(self.model).aliases.items()}

    def versions(self) -> Mapping[str, str]:
        found = self.client.search_model_versions(f"name = '{self.model}'")
        return {str(one.version): str(one.run_id) for one in found}

    def tags(self, version: str) -> Mapping[str, str]:
        return self.client.get_model_version(self.model, version).tags

    def package_file(self, run_id: str, name: str) -> Path:
        outputs = self.client.get_run(run_id).outputs
        assert outputs is not None
        model_id = outputs.model_outputs[0].model_id
        return next(file for file in self.server.files(name) if model_id in file.parts and "package" in file.parts)

    def dataset_digest(self, run_id: str) -> str:
        """What the pages show of the training rows."""
        inputs = self.client.get_run(run_id).inputs
        assert inputs is not None
        return str(inputs.dataset_inputs[0].dataset.digest)

    def runs(self, view: int = ViewType.ACTIVE_ONLY) -> Mapping[str, str]:
        """Run: its status."""
        experiment = self.client.get_experiment_by_name(self.model)
        assert experiment is not None
        return {
            run.info.run_id: run.info.status for run in self.client.search_runs([experiment.experiment_id], "", view)
        }

    def logged_models(self) -> Sequence[str]:
        """Models that are not deleted."""
        experiment = self.client.get_experiment_by_name(self.model)
        assert experiment is not None
        return [model.model_id for model in self.client.search_logged_models([experiment.experiment_id])]


@pytest.fixture(params=["folder", "mlflow"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Each registry in turn, empty."""
    if request.param == "folder":
        return FolderCase(tmp_path)
    return MlflowCase(request.getfixturevalue("mlflow_server"))


@pytest.fixture
def server_case(mlflow_server: MlflowServer) -> MlflowCase:
    """An empty registry on the real server."""
    return MlflowCase(mlflow_server)


def test_training_is_not_found_before_it_is_logged(case: Case) -> None:
    """Nothing is created by asking."""
    assert case.open().find_training("never") is None


def test_training_is_stored_once(case: Case) -> None:
    """The second call, and another process, get the first run."""
    first = case.open().log_training(tiny_training(1))
    assert case.open().log_training(tiny_training(1)) == first
    assert case.open().find_training("training-1") == first
    assert first.digest == digest(tiny_training(1).package)
    assert case.history(first.run_id, "train_mae") == [6.0]


def test_loaded_model_predicts_as_the_packed_one(case: Case) -> None:
    """From the run and from its version."""
    registry = case.open()
    run = registry.log_training(tiny_training(1))
    version = registry.register(run.run_id, {})
    rows, _ = tiny_rows(7)
    by_run, by_version = registry.load(run_id=run.run_id), case.open().load(version=version)
    assert np.ptp(by_run.predict(rows)) > 1
    assert np.array_equal(by_run.predict(rows), by_version.predict(rows))
    assert np.array_equal(registry.load(version=version).predict(rows), by_run.predict(rows))


def test_files_of_a_version_with_a_correction_are_those_that_were_logged(case: Case) -> None:
    """The correction is one of them, and the model that is loaded has it."""
    registry, correction = case.open(), Correction(task="regression", shift=2.5)
    package = calibrated(tiny_training(1).package, Calibration(correction=correction, errors={}))
    trained, changed = (
        registry.register(registry.log_training(one).run_id, {})
        for one in (tiny_training(1), replace(tiny_training(1, training_id="recalibration-1"), package=package))
    )
    assert case.open().package(changed) == package
    assert case.open().package(trained) == tiny_training(1).package
    assert registry.digest(changed) == digest(package) != registry.digest(trained)
    rows, _ = tiny_rows(7)
    before = registry.load(version=trained).predict(rows)
    assert np.array_equal(case.open().load(version=changed).predict(rows), 1.0 * before + 2.5)
    assert registry.describe(changed).bins != registry.describe(trained).bins


def test_registering_again_gives_the_same_version_and_sets_the_tags(case: Case) -> None:
    """Versions belong to runs."""
    registry = case.open()
    runs = [registry.log_training(tiny_training(seed)) for seed in (1, 2)]
    versions = [registry.register(run.run_id, {"decision": "promote"}) for run in runs]
    assert case.open().register(runs[0].run_id, {"decision": "refuse"}) == versions[0]
    assert case.versions() == dict(zip(versions, [run.run_id for run in runs], strict=True))
    assert case.tags(versions[0])["decision"] == "refuse"
    assert case.tags(versions[1])["decision"] == "promote"


def test_eight_writers_at_once_make_one_version(case: Case) -> None:
    """All of them get the same one."""
    run = case.open().log_training(tiny_training(1))
    registries = [case.open() for _ in range(WRITERS)]
    if isinstance(case, FolderCase):
        registries = [registries[0]] * WRITERS
    with ThreadPoolExecutor(WRITERS) as pool:
        versions = set(pool.map(lambda registry: registry.register(run.run_id, {"n": "1"}), registries))
    assert len(versions) == 1
    assert case.versions() == {versions.pop(): run.run_id}


def test_slower_of_two_writers_gives_way(server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival that registers between our look and our write keeps its version, and ours goes."""
    run = server_case.open().log_training(tiny_training(1))
    create = MlflowClient.create_model_version
    rivals: list[str] = []

    def come_second(client: MlflowClient, *args: object, **kwargs: object) -> object:
        monkeypatch.setattr(MlflowClient, "create_model_version", create)
        rivals.append(server_case.open().register(run.run_id, {}))
        return create(client, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_model_version", come_second)
    assert server_case.open().register(run.run_id, {}) == rivals[0]
    assert server_case.versions() == {rivals[0]: run.run_id}


def test_evaluation_twice_leaves_one_point(case: Case) -> None:
    """A metric that has not changed gets no second point; one that has gets one; what is not a number gets none."""
    run = case.open().log_training(tiny_training(1))
    for _ in range(2):
        case.open().log_evaluation(
            run.run_id, {"mae": 7.1, "champion_mae": float("nan")}, {"decision": "refuse"}, {"daily.png": PNG}
        )
    assert case.history(run.run_id, "mae") == [7.1]
    assert case.history(run.run_id, "champion_mae") == []
    case.open().log_evaluation(run.run_id, {"mae": 6.9}, {}, {})
    assert case.history(run.run_id, "mae") == [7.1, 6.9]


def test_aliases_follow_the_ledger(case: Case) -> None:
    """Set, move, remove, and remove what is not there."""
    registry = case.open()
    registry.mirror({"champion": None, "shadow": None})
    first, second = (registry.register(registry.log_training(tiny_training(seed)).run_id, {}) for seed in (1, 2))
    registry.mirror({"champion": first, "challenger": second})
    assert case.aliases() == {"champion": first, "challenger": second}
    registry.mirror({"champion": second, "challenger": None, "shadow": None})
    assert case.aliases() == {"champion": second}


def test_tags_of_a_version_can_be_added_later(case: Case) -> None:
    """Such as the outcome of its release."""
    registry = case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {"decision": "promote"})
    registry.tag(version, {"release": "done"})
    assert {"decision": "promote", "release": "done"}.items() <= case.tags(version).items()


def test_what_is_not_there_is_not_found(case: Case) -> None:
    """Runs and versions by name."""
    registry = case.open()
    registry.register(registry.log_training(tiny_training(1)).run_id, {})
    calls: Sequence[Callable[[], object]] = [
        lambda: registry.digest("99"),
        lambda: registry.load(version="99"),
        lambda: registry.load(run_id="0" * 32),
        lambda: registry.register("0" * 32, {}),
        lambda: registry.tag("99", {"a": "b"}),
        lambda: registry.mirror({"champion": "99"}),
        lambda: registry.log_evaluation("0" * 32, {"mae": 1.0}, {}, {}),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()


@pytest.mark.parametrize("name", ["features.py", "estimator.skops"])
def test_tampered_file_is_not_loaded(case: Case, name: str) -> None:
    """A byte more in the store is enough."""
    registry = case.open()
    run = registry.log_training(tiny_training(1))
    version = registry.register(run.run_id, {})
    file = case.package_file(run.run_id, name)
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ModelIntegrityError, match="other content"):
        case.open().load(version=version)


def test_missing_file_is_not_loaded(case: Case) -> None:
    """The message names it."""
    run = case.open().log_training(tiny_training(1))
    case.package_file(run.run_id, "encoder.json").unlink()
    with pytest.raises(ModelIntegrityError, match=r"lacks encoder\.json"):
        case.open().load(run_id=run.run_id)


STEPS = ["create_logged_model", "log_outputs", "log_inputs", "log_model_artifacts", "log_artifacts", "set_terminated"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_try_is_replaced(server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A try that was killed anywhere is not found, cannot be registered, and leaves nothing behind the next one."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    registry = server_case.open()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, kill)
        with pytest.raises(Killed):
            registry.log_training(tiny_training(1))
    (killed,) = server_case.runs()
    assert registry.find_training("training-1") is None
    run = server_case.open().log_training(tiny_training(1))
    assert run.run_id != killed
    assert server_case.runs() == {run.run_id: "FINISHED"}
    assert len(server_case.logged_models()) == 1
    assert set(server_case.runs(ViewType.DELETED_ONLY)) == {killed}


def test_zombie_and_retry_agree(server_case: MlflowCase) -> None:
    """Two tries of one training at once: at most one counts, and the answer does not change."""

    def attempt(registry: MlflowRegistry) -> str | None:
        try:
            return registry.log_training(tiny_training(1)).run_id
        except TrimtabError:
            return None

    server_case.open().log_training(tiny_training(2))
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, [server_case.open(), server_case.open()]))
    found = server_case.open().find_training("training-1")
    assert found is not None
    assert found.run_id in outcomes
    assert server_case.open().log_training(tiny_training(1)) == found


def test_candidates_of_one_data_set_do_not_break_each_other(server_case: MlflowCase) -> None:
    """Logged at once, by tasks that are mapped over the candidates, into an experiment that is not there yet."""
    trainings = [replace(tiny_training(1), training_id=f"rival-{number}") for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        runs = list(pool.map(lambda training: server_case.open().log_training(training), trainings))
    assert len({server_case.dataset_digest(run.run_id) for run in runs}) == 1
    assert set(server_case.runs().values()) == {"FINISHED"}


def test_writers_of_one_alias_do_not_break_each_other(server_case: MlflowCase) -> None:
    """SQLite may refuse one of them once."""
    registry = server_case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda one: one.mirror({"champion": version}), [server_case.open() for _ in range(WRITERS)]))
    assert server_case.aliases() == {"champion": version}


def test_data_scientist_opens_the_model_with_mlflow_alone(
    server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By alias, without a pickle, with signature and example; optional columns may be missing."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_case.server.uri)
    registry = server_case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    registry.mirror({"champion": version})
    model = mlflow.pyfunc.load_model(f"models:/{server_case.model}@champion")
    rows, _ = tiny_rows(7)
    integers = ["year", "month", "day", "flight", "sched_dep_time", "sched_arr_time"]
    frame = pd.DataFrame(dict(rows)).astype(dict.fromkeys(integers, "int64"))
    assert np.array_equal(model.predict(frame), registry.load(version=version).predict(rows))
    assert len(model.predict(frame.drop(columns=["tailnum", "seats"]))) == len(frame)
    assert model.metadata.saved_input_example_info is not None
    with pytest.raises(mlflow.MlflowException, match="missing inputs"):
        model.predict(frame.drop(columns=["distance"]))
    assert not server_case.server.files("*.pkl")


def test_classifier_is_one_for_mlflow_and_predicts_probabilities(
    server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_case.server.uri)
    registry = server_case.open()
    run = registry.log_training(tiny_training(1, task="binary"))
    version = registry.register(run.run_id, {})
    model = mlflow.pyfunc.load_model(f"models:/{server_case.model}/{version}")
    rows, _ = tiny_rows(7)
    integers = ["year", "month", "day", "flight", "sched_dep_time", "sched_arr_time"]
    probability = model.predict(pd.DataFrame(dict(rows)).astype(dict.fromkeys(integers, "int64")))
    assert np.array_equal(probability, registry.load(version=version).predict(rows))
    assert 0 <= probability.min() < 0.5 < probability.max() <= 1
    assert [column.type.name for column in model.metadata.signature.outputs.inputs] == ["double"]
    (logged,) = server_case.client.get_run(run.run_id).outputs.model_outputs
    assert server_case.client.get_logged_model(logged.model_id).model_type == "classifier"


def test_pages_show_what_a_choice_needs(server_case: MlflowCase) -> None:
    """Names, description, data set with our digest, code, figures at the top, and no second copy of the summary."""
    registry = server_case.open()
    run = registry.log_training(replace(tiny_training(1), tags={"as_of": "2013-03-01", "reason": "drift"}))
    registry.log_evaluation(run.run_id, {"mae": 7.1}, {"summary": "Promote: better."}, {"daily.png": PNG})
    version = registry.register(run.run_id, {"summary": "Promote: better."})
    stored = server_case.client.get_run(run.run_id)
    assert stored.info.run_name == "boosting_28_days 2013-03-01"
    assert stored.data.tags[DESCRIPTION] == "Promote: better."
    assert stored.data.params["window_days"] == "28"
    assert stored.inputs is not None
    (used,) = stored.inputs.dataset_inputs
    sha = {tag.key: tag.value for tag in used.tags}["sha256"]
    assert sha.startswith(used.dataset.digest)
    files = {file.path for folder in ("", "code") for file in server_case.client.list_artifacts(run.run_id, folder)}
    assert {"daily.png", "residuals.png", "code/features.py", "code/model.yaml"} <= files
    shown = server_case.client.get_model_version(server_case.model, version)
    assert shown.description == "Promote: better."
    assert "summary" not in shown.tags
    model = server_case.client.get_registered_model(server_case.model)
    assert str(model.description).startswith("Minutes in the air")


def test_changed_value_changes_the_digest_of_the_data_set(server_case: MlflowCase) -> None:
    """Even in the last row, which MLflow's own digest does not always look at."""
    registry = server_case.open()
    training = tiny_training(1)
    changed = training.dataset.copy()
    changed.loc[changed.index[-1], "air_time"] = 1.0
    runs = [
        registry.log_training(replace(training, training_id=name, dataset=frame))
        for name, frame in (("a", training.dataset), ("b", training.dataset.copy()), ("c", changed))
    ]
    first, same, other = (server_case.dataset_digest(run.run_id) for run in runs)
    assert first == same != other


def test_package_is_fetched_once_and_a_spoilt_copy_is_fetched_again(
    server_case: MlflowCase, relay: Callable[[int], Relay], cache: Path
) -> None:
    """The second load makes one request, for the digest; and no copy is believed."""
    registry = server_case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    rows = tiny_rows(7)[0]
    expected = registry.load(version=version).predict(rows)
    assert np.array_equal(server_case.open(relay(1).uri).load(version=version).predict(rows), expected)
    (copy,) = cache.glob("*.zip")
    other = tiny_training(2).package
    copy.unlink()
    package_copies.store_copy(copy.stem, other)
    assert np.array_equal(registry.load(version=version).predict(rows), expected)
    copied = package_copies.load_copy(copy.stem)
    assert copied is not None
    assert digest(copied) == copy.stem


def test_description_is_that_of_the_model(case: Case) -> None:
    """The same features and reference as the whole model's, without its estimator."""
    registry = case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    model, whole, rows = registry.describe(version), registry.load(version=version), tiny_rows(7)[0]
    assert (model.spec, model.reference) == (whole.spec, whole.reference)
    assert model.bins == whole.reference.bins
    assert model.features(rows).keys() == whole.features(rows).keys()


def test_package_that_is_not_the_expected_one_is_refused(case: Case) -> None:
    """The ledger says which package a version is released with; whoever changes the registry changes nothing."""
    registry = case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    known = registry.digest(version)
    assert registry.load(version=version, expected_digest=known).spec.name == "flight_air_time"
    other = digest(tiny_training(2).package)
    for opening in (
        lambda: registry.load(version=version, expected_digest=other),
        lambda: registry.describe(version, other),
    ):
        with pytest.raises(ModelIntegrityError):
            opening()


def test_expected_package_that_is_at_hand_needs_no_server(server_case: MlflowCase) -> None:
    """The copy is checked against the ledger's digest, and the server has nothing to add."""
    registry = server_case.open()
    version, rows = registry.register(registry.log_training(tiny_training(1)).run_id, {}), tiny_rows(7)[0]
    expected = registry.load(version=version).predict(rows)
    offline = mlflow_registry(f"http://127.0.0.1:{free_port()}", server_case.model)
    found = offline.load(version=version, expected_digest=digest(tiny_training(1).package))
    assert np.array_equal(found.predict(rows), expected)


def test_nothing_is_printed(server_case: MlflowCase, capfd: pytest.CaptureFixture[str]) -> None:
    """No links, no progress bars, no hints."""
    registry = server_case.open()
    run = registry.log_training(tiny_training(1))
    registry.load(version=registry.register(run.run_id, {}))
    assert capfd.readouterr() == ("", "")


def test_anonymous_request_is_refused(server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pages and by the API; the message names the connection to mend."""
    server_case.open().log_training(tiny_training(1))
    for page in ("/", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(server_case.server.uri + page, timeout=10)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with pytest.raises(TrimtabError, match=r"anybody without a user name.*\(401\).*'trimtab_registry'") as refusal:
        mlflow_registry(server_case.server.uri, server_case.model).find_training("training-1")
    assert not refusal.value.retryable


def test_wrong_password_is_refused_at_once(server_case: MlflowCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again would not help."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    registry = mlflow_registry(server_case.server.uri, server_case.model, "trimtab", "wrong")
    with pytest.raises(TrimtabError, match=r"user 'trimtab'.*\(401\)"):
        registry.log_training(tiny_training(1))


def every_method(registry: Registry) -> Sequence[Callable[[], object]]:
    """A call of each method of the port."""
    return [
        lambda: registry.find_training("x"),
        lambda: registry.log_training(tiny_training(1)),
        lambda: registry.log_evaluation("0" * 32, {"mae": 1.0}, {"a": "b"}, {"a.png": PNG}),
        lambda: registry.register("0" * 32, {}),
        lambda: registry.tag("1", {"a": "b"}),
        lambda: registry.mirror({"champion": "1"}),
        lambda: registry.digest("1"),
        lambda: registry.load(version="1"),
        lambda: registry.load(run_id="0" * 32),
    ]


def seconds_until_unavailable(call: Callable[[], object]) -> float:
    """How long a call takes to say that the registry does not answer."""
    start = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        call()
    return time.monotonic() - start


def test_dead_server_is_reported_in_time() -> None:
    """A port that nobody listens on."""
    registry = mlflow_registry(f"http://127.0.0.1:{free_port()}", "flights")
    assert max(map(seconds_until_unavailable, every_method(registry))) < BOUND_SECONDS


def test_hanging_server_is_reported_in_time(silent_server: str) -> None:
    """A server that accepts and never answers, with the timeouts of production."""
    calls = every_method(mlflow_registry(silent_server, "flights"))
    with ThreadPoolExecutor(len(calls)) as pool:
        assert max(pool.map(seconds_until_unavailable, calls)) < BOUND_SECONDS


def test_server_that_hangs_in_the_middle_loses_nothing(
    server_case: MlflowCase, relay: Callable[[int], Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a logging is cut off, in model, files or mark, it is reported and the next try makes it whole."""
    server_case.open().log_training(tiny_training(2))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    cuts = range(0, 24, 3)

    def cut_off(requests: int) -> float:
        registry = server_case.open(relay(requests).uri)
        return seconds_until_unavailable(lambda: registry.log_training(tiny_training(1, training_id=f"cut-{requests}")))

    with ThreadPoolExecutor(len(cuts)) as pool:
        assert max(pool.map(cut_off, cuts)) < BOUND_SECONDS
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "12")
    runs = {server_case.open().log_training(tiny_training(1, training_id=f"cut-{cut}")).run_id for cut in cuts}
    statuses = server_case.runs()
    assert len(runs) == len(cuts)
    assert {statuses[run] for run in runs} == {"FINISHED"}
    assert len(statuses) == len(server_case.logged_models()) == len(cuts) + 1


def test_download_that_hangs_is_reported(
    server_case: MlflowCase, relay: Callable[[int], Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every request that a load makes, up to the last file."""
    registry = server_case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    lines = [server_case.open(relay(requests).uri) for requests in range(9)]
    with ThreadPoolExecutor(len(lines)) as pool:
        seconds = pool.map(lambda line: seconds_until_unavailable(lambda: line.load(version=version)), lines)
        assert max(seconds) < BOUND_SECONDS


def test_registry_survives_a_restart_of_the_server(server_case: MlflowCase) -> None:
    """The same object works before and after, and says so in between; a loaded model goes on predicting."""
    registry = server_case.open()
    version = registry.register(registry.log_training(tiny_training(1)).run_id, {})
    loaded = registry.load(version=version)
    server_case.server.stop()
    try:
        assert seconds_until_unavailable(lambda: registry.load(version=version)) < BOUND_SECONDS
        assert len(loaded.predict(tiny_rows(7)[0])) > 0
    finally:
        server_case.server.start()
    assert registry.register(registry.log_training(tiny_training(1)).run_id, {}) == version
