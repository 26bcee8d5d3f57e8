"""Count a scored batch on the bins of the champion's reference."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from trimtab.domain.columns import Columns, slices_of
from trimtab.domain.counting import profile
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import BATCH, Lake, Registry
from trimtab.domain.profiles import PREDICTION, Profile
from trimtab.domain.spec import RowsSpec
from trimtab.stages.frames import columns_of
from trimtab.stages.score import routing_of

profile_json = TypeAdapter(Profile)
slices_json = TypeAdapter(dict[str, Profile])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """What was counted."""

    rows: int
    version: str | None
    """The champion whose reference gave the bins; None: there is none yet."""


def profile_batch(day: date, *, lake: Lake, ledger: Ledger, registry: Registry, rows: RowsSpec) -> ProfileResult:
    """Profile the features and the champion's predictions of one day, whole and by slice, once for the day."""
    route = routing_of(day, ledger)
    champion = route.champion
    batch = lake.read("batches", day, day)
    if champion is None or not len(batch):
        lake.write("profiles", day, pd.DataFrame())
        return ProfileResult(rows=0, version=champion)
    model = registry.describe(champion, route.digests[champion])
    scored = lake.read("predictions", day, day, part=BATCH)
    prediction = scored.loc[scored["version"] == champion, "prediction"].to_numpy(dtype=np.float64)
    known = columns_of(batch, rows)
    features = model.features(known)
    columns: Columns = {**features, PREDICTION: prediction}
    slicings = slices_of({**known, **features}, model.spec.slices)
    lake.write("profiles", day, profile_frame(champion, profile(columns, model.bins, slicings)))
    return ProfileResult(rows=len(batch), version=champion)


def profile_frame(version: str, counted: Profile) -> pd.DataFrame:
    """A profile on the bins of a version as the lake keeps it."""
    content = {
        "version": version,
        "profile": profile_json.dump_json(counted.summarised).decode(),
        # Apart, since they are many times larger and a verdict about all rows reads a quarter of a year.
        "slices": slices_json.dump_json(counted.slices).decode(),
    }
    return pd.DataFrame([content])
