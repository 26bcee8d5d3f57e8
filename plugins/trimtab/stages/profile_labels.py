"""Count the labels of a day on the bins of the version that was the champion then."""

import logging
from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.domain.counting import profile
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Registry
from trimtab.domain.profiles import LABEL
from trimtab.errors import NotFoundError
from trimtab.stages.profile_batch import profile_frame
from trimtab.stages.score import routing_of

logger = logging.getLogger(__name__)


def profile_labels(
    day: date,
    labels: pd.DataFrame,
    slicings: Callable[[], Mapping[str, NDArray[np.object_]]],
    *,
    ledger: Ledger,
    registry: Registry,
) -> pd.DataFrame:
    """What `label_profiles` is to hold of a day: its labels counted, whole and by slice.

    Nothing for a day without labels or champion, or if that is gone or has no bins for labels.

    Args:
        day: The day that the rows belong to, not the one on which their labels came.
        labels: `label` of each row that has one (n,).
        slicings: Gives, by name of the slicing, the slice of each of these rows (n,).
        ledger: Says which version it was.
        registry: Has the version's bins.

    Raises:
        RegistryUnavailableError: If it does not answer.
    """
    if not len(labels):
        return pd.DataFrame()
    route = routing_of(day, ledger)
    if route.champion is None:
        return pd.DataFrame()
    try:
        bins = registry.describe(route.champion, route.digests[route.champion]).label_bins
    except NotFoundError as exc:
        logger.warning("the labels of %s are not counted: %s", day, exc)
        return pd.DataFrame()
    if bins is None:
        return pd.DataFrame()
    values = labels["label"].to_numpy(dtype=np.float64)
    return profile_frame(route.champion, profile({LABEL: values}, {LABEL: bins}, slicings()))
