"""Frames of the lake as the domain's columns."""

import numpy as np
import pandas as pd

from trimtab.domain.columns import Columns
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import RowsSpec
from trimtab.errors import DataContractError, listed


def columns_of(frame: pd.DataFrame, spec: RowsSpec) -> Columns:
    """The row columns of a frame (n rows): floats with nan, or objects with None for a missing text.

    Raises:
        DataContractError: If no batch of the lake has a column, because it is new in the spec.
    """
    missing = [name for name in spec.columns if name not in frame.columns]
    if missing:
        raise DataContractError(
            f"The lake has no column {listed(missing)}, which rows.columns in model.yaml names. "
            "Run the days that are needed again, so that their batches have it."
        )
    return {
        name: _texts(frame[name]) if is_text(kind) else frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name, kind in spec.columns.items()
    }


def _texts(values: pd.Series) -> np.ndarray:
    texts = values.to_numpy(dtype=object, copy=True)
    texts[values.isna().to_numpy()] = None
    return texts
