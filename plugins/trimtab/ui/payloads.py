"""Values out of ledger payloads, for which any version of Trimtab may have chosen the keys."""

import math
from collections.abc import Mapping

from trimtab.domain.journal import JsonValue, Payload


def text_in(payload: Payload, key: str) -> str:
    """A value as text, empty if it is not there."""
    value = payload.get(key)
    return "" if value is None else str(value)


def texts_in(payload: Payload, key: str) -> tuple[str, ...]:
    """A list as texts, empty if it is not there."""
    values: JsonValue = payload.get(key)
    return tuple(map(str, values)) if isinstance(values, list) else ()


def loss_name_in(values: Mapping[str, JsonValue]) -> str:
    """What the loss of a feedback entry is called."""
    return str(values.get("loss_name") or "loss")


def count_in(payload: Mapping[str, JsonValue], key: str) -> int:
    """A number as a count, 0 if it is not there or not finite."""
    value = payload.get(key)
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0
