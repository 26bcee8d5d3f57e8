"""The examples of the guides, run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import load_feature_code
from trimtab.domain.spec import LabelSpec

ROOT = Path(__file__).parents[2]


def blocks(file: str, language: str) -> list[str]:
    """Code blocks of one language in a guide."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


def test_dag_of_the_operators_guide_can_be_read(
    read_dags: Callable[[Path, Path], dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mail_verdict.py").write_text(blocks("docs/operators.md", "python")[0])
    found = read_dags(tmp_path, ROOT / "include" / "models")
    assert found["errors"] == {}
    assert found["dags"]["mail_verdict"]["tasks"] == {"drift": ["mail"], "mail": []}


def test_model_of_the_guide_is_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "house_price"
    folder.mkdir()
    spec, binary, suite = blocks("docs/add_a_model.md", "yaml")
    code = blocks("docs/add_a_model.md", "python")[0]
    (folder / "model.yaml").write_text(spec)
    (folder / "suite.yaml").write_text(suite)
    (folder / "features.py").write_text(code)
    model = load_folder(folder)
    features = load_feature_code(model.feature_code, model.spec).compute(
        {
            "area": np.array([100.0]),
            "rooms": np.array([4.0]),
            "district": np.array(["north"], dtype=object),
        }
    )
    assert features["area_per_room"].tolist() == [25.0]
    assert LabelSpec.model_validate(yaml.safe_load(binary)["label"]).title == "days_listed > 60"


def test_request_of_the_readme_has_the_columns_of_the_model() -> None:
    text = re.search(r"-d '(\{.*?\})'", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    row = json.loads(text[1])["rows"][0]
    columns = load_folder(ROOT / "include" / "models" / "flight_air_time").spec.rows.columns
    needed = {name for name, kind in columns.items() if not kind.endswith("?")}
    assert needed <= set(row) <= set(columns)
