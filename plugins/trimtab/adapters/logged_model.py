"""What MLflow shows of a training: the package as a model folder with signature and example, and its data set."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

import mlflow.pyfunc
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from trimtab.adapters import model_package
from trimtab.adapters.model_folder import SPEC_FILE, parse_spec
from trimtab.domain.ports import Package, Training
from trimtab.domain.spec import ColumnType, ModelSpec

# About MLflow's own code under pandas 3; nobody here can act on it.
warnings.filterwarnings("ignore", message="Operation with range is deprecated", module=r"mlflow\.")

PACKAGE_FOLDER = "artifacts/package"
"""Where the package lies inside the model folder."""
EXAMPLE_ROWS = 5
DIGEST_LENGTH = 16
"""Characters of a data set's digest that the pages show; MLflow allows 36."""

COLUMN_TYPES: Mapping[ColumnType, DataType] = MappingProxyType(
    {
        "number": DataType.double,
        "number?": DataType.double,
        "integer": DataType.long,
        "integer?": DataType.double,  # pandas has no missing value in an int64 column
        "text": DataType.string,
        "text?": DataType.string,
    }
)


def spec_of(package: Package) -> ModelSpec:
    """The spec that a package was trained with."""
    return parse_spec(package[SPEC_FILE].decode(), SPEC_FILE)


def save(training: Training, folder: Path, model: Model) -> None:
    """Write the model folder that `mlflow.pyfunc.load_model` opens, from code and without a pickle."""
    spec = spec_of(training.package)
    staging = folder.with_name("package")
    write_files(training.package, staging)
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(Path(__file__).with_name("mlflow_model.py")),
        artifacts={"package": str(staging)},
        signature=signature(spec),
        input_example=_example(training.example, spec),
        # Given, because MLflow takes up to a minute to find them out by loading the model in another process.
        pip_requirements=[_requirement()],
        model_config={"digest": model_package.digest(training.package), "name": spec.name},
        mlflow_model=model,
    )


def model_type(spec: ModelSpec) -> str:
    """MLflow's word for the kind of model."""
    return "classifier" if spec.label.task == "binary" else "regressor"


def signature(spec: ModelSpec) -> ModelSignature:
    """Columns of a row as a client sends it, and one number for each row: of a classifier the probability of a 1."""
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(COLUMN_TYPES[kind], name, required=not kind.endswith("?")) for name, kind in spec.rows.columns.items()
    ]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec(DataType.double)]))


def dataset_input(training: Training) -> DatasetInput:
    """The training rows as a record: source, schema, size, and a digest over every value."""
    digest = frame_digest(training.dataset)
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(_type_of(dtype), str(name)) for name, dtype in training.dataset.dtypes.items()
    ]
    dataset = Dataset(
        name=spec_of(training.package).name,
        digest=digest[:DIGEST_LENGTH],
        source_type="delta_table",
        source=json.dumps({"path": training.dataset_source}),
        schema=json.dumps({"mlflow_colspec": Schema(columns).to_dict()}),
        profile=json.dumps({"num_rows": len(training.dataset), "num_elements": int(training.dataset.size)}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training"), InputTag("sha256", digest)])


def frame_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over names, types and all values. MLflow's own looks at the first 10,000 rows only."""
    sha = hashlib.sha256(json.dumps([(str(name), str(dtype)) for name, dtype in frame.dtypes.items()]).encode())
    for name in frame.columns:
        sha.update(pd.util.hash_array(frame[name].to_numpy(), categorize=True).tobytes())
    return sha.hexdigest()


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by name; nothing, not even the folder, if there are none."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _requirement() -> str:
    try:
        return f"trimtab=={version('trimtab')}"
    except PackageNotFoundError:  # a bundle that is only on the path
        return "trimtab"


def _example(frame: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """The first rows in the types of the signature."""
    rows = frame[list(spec.rows.columns)].head(EXAMPLE_ROWS).reset_index(drop=True)
    return rows.astype(
        {name: COLUMN_TYPES[kind].to_numpy() for name, kind in spec.rows.columns.items() if not kind.startswith("text")}
    )


def _type_of(dtype: object) -> DataType:
    kinds = {
        "f": DataType.double,
        "i": DataType.long,
        "u": DataType.long,
        "b": DataType.boolean,
        "M": DataType.datetime,
    }
    return kinds.get(getattr(dtype, "kind", "O"), DataType.string)
