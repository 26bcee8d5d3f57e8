"""Latencies as counts that can be added up, from which a quantile is read within 1 %.

Source: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
VLDB 12 (2019), section 2: bins whose ends grow by a factor.
"""

import math
from collections.abc import Mapping

ACCURACY = 0.01
"""Largest relative error of a quantile."""
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
SHORTEST_MS = 1e-3
"""What is quicker counts as this."""


def latency_bin(latency_ms: float) -> int:
    """The bin of a latency in milliseconds."""
    return math.ceil(math.log(max(latency_ms, SHORTEST_MS)) / _LOG_GAMMA)


def bins_of_ratio(ratio: float) -> int:
    """Bins that a latency moves by if it becomes so many times as long."""
    return round(math.log(ratio) / _LOG_GAMMA)


def quantile_bin(bins: Mapping[int, int], share: float) -> int:
    """The bin up to which a share (0 to 1) of those counted by bin lies; there must be some."""
    rank = share * (sum(bins.values()) - 1)
    seen = 0
    for position in sorted(bins):
        seen += bins[position]
        if seen > rank:
            break
    return position


def quantile_ms(bins: Mapping[int, int], share: float) -> float:
    """The latency in milliseconds that a share (0 to 1) of those counted by bin does not exceed; nan of none."""
    return float(2 * _GAMMA ** quantile_bin(bins, share) / (_GAMMA + 1)) if bins else math.nan
