"""Whether a model folder says what it must, tried with the libraries that will read it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.adapters.model_folder import FEATURE_FILE, SPEC_FILE, ModelFolder, load_folder
from trimtab.errors import NotFoundError, SpecError, TrimtabError

if TYPE_CHECKING:
    from trimtab.domain.spec import CandidateSpec

ASPECTS = ("spec", "suite", "features", "estimators", "source")
TRIAL_ROWS = 64
SAMPLES = 1000


@dataclass(slots=True)
class Report:
    """What was found in one folder."""

    folder: Path
    notes: dict[str, str] = field(default_factory=dict)
    """What is good, or was not looked at, by aspect."""
    problems: list[str] = field(default_factory=list)
    """File, key and cure of each problem."""
