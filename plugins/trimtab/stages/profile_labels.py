"""Count the labels of a day on the bins of the version that was the champion then."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.domain.counting import profile
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.profiles import LABEL
from trimtab.stages.profile_batch import profile_frame
from trimtab.stages.score import routing_of


def profile_labels(
    day: date,
    labels: pd.DataFrame,
    slicings: Mapping[str, NDArray[np.object_]],
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
) -> None:
    """Write the profile of a day's labels, whole and by slice, beside that of its features (part `label`).

    Nothing is written for a day without a champion, or if that has no bins for labels.

    Args:
        day: The day that the rows belong to, not the one on which their labels came.
        labels: `label` of each row that has one (n,).
        slicings: By name of the slicing, the slice of each of these rows (n,).
        lake: Takes the profile.
        ledger: Says which version it was.
        registry: Has the version's bins.
    """
    route = routing_of(day, ledger)
    if route.champion is None:
        return
    bins = registry.describe(route.champion, route.digests[route.champion]).label_bins
    if bins is None:
        return
    frame = pd.DataFrame()
    if len(labels):
        values = labels["label"].to_numpy(dtype=np.float64)
        frame = profile_frame(route.champion, profile({LABEL: values}, {LABEL: bins}, slicings))
    lake.write("profiles", day, frame, part=LABEL)
