"""Whether the service can predict."""

from collections.abc import Mapping

from trimtab.serving.messages import Readiness
from trimtab.serving.model_server import ModelServer


def readiness(models: Mapping[str, ModelServer]) -> Readiness:
    """What is loaded of each model, and whether that is what should be."""
    states = {name: server.state for name, server in models.items()}
    answers = any(state.version is not None for state in states.values())
    ready = answers and not any(server.is_missed for server in models.values())
    return Readiness(ready=ready, models=states)
