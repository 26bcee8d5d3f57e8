"""The script that MLflow keeps with a logged model ("models from code"): it opens the package that lies beside it.

MLflow runs a copy of this file in `mlflow.pyfunc.load_model`; nothing is unpickled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from trimtab.adapters.model_package import open_package
from trimtab.domain.columns import Column, Columns
from trimtab.domain.metrics import FloatArray
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import ColumnType


class PackagedModel(PythonModel):
    """A package as MLflow's pyfunc model: rows as a client sends them in, predictions out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the package.

        Raises:
            ModelIntegrityError: If its files are not those that were logged.
        """
        files = Path(context.artifacts["package"]).iterdir()
        self._predictor = open_package(
            {file.name: file.read_bytes() for file in files},
            expected_digest=context.model_config["digest"],
            name=context.model_config["name"],
        )

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  # MLflow passes it
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> FloatArray:
        """Predictions (n,) for rows (n); an optional column may be left out."""
        return self._predictor.predict(_columns(model_input, self._predictor.spec.rows.columns))


def _columns(frame: pd.DataFrame, types: Mapping[str, ColumnType]) -> Columns:
    return {name: _column(frame, name, kind) for name, kind in types.items()}


def _column(frame: pd.DataFrame, name: str, kind: ColumnType) -> Column:
    values = frame[name] if name in frame else pd.Series(np.full(len(frame), np.nan))
    if not is_text(kind):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return values.astype(object).where(values.notna(), None).to_numpy(dtype=object)


mlflow.models.set_model(PackagedModel())
