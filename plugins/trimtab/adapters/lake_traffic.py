"""The traffic of models that answer no requests: rows that were scored in the lake."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import BATCH, Lake
from trimtab.domain.release import Routing
from trimtab.domain.sequential import Moments


class LakeTraffic:
    """What each version predicted for the batches of a step."""

    def __init__(self, lake: Lake, ledger: Ledger) -> None:
        """Bind to the stores of a model."""
        self._lake, self._ledger = lake, ledger

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        """Each version on its own rows, which in a shadow are all for both. Nobody timed them.

        The champion has a line for every row, and a row that the challenger has none for is one that it failed on.
        """
        made = [entry.as_of for entry in self._ledger.entries("release") if entry.sequence == routing.sequence]
        scored = self._lake.read("predictions", made[0], date.max, part=BATCH) if made else pd.DataFrame()
        if not len(scored):
            return {}
        scored = scored[scored["route"] == routing.sequence].set_index(["_day", "_key"])[["version", "prediction"]]
        old, new = (
            scored.loc[scored["version"] == one, "prediction"] for one in (routing.champion, routing.challenger)
        )
        in_share = np.array([routing.arm(key) == "challenger" for _, key in old.index], dtype=bool)
        asked = old.index[in_share] if routing.share else old.index
        arms = {routing.champion: _arm(old[~in_share]), routing.challenger: _arm(new.reindex(asked))}
        return {version: arm for version, arm in arms.items() if version is not None}


def _arm(values: pd.Series) -> ArmTraffic:
    predictions = values.to_numpy(dtype=np.float64)
    finite = np.isfinite(predictions)
    return ArmTraffic(requests=len(predictions), failures=int((~finite).sum()), outputs=Moments.of(predictions[finite]))
