"""Whether the service can predict."""

from collections.abc import Mapping

from trimtab.serving.messages import Readiness
from trimtab.serving.model_server import ModelServer


def readiness(models: Mapping[str, ModelServer]) -> Readiness:
    """What is loaded of each model, and whether that is what should be."""
    states = {name: server.state for name, server in models.items()}
    answering = [state.version is not None for state in states.values()]
    # A model that was never released is nothing to wait for; one that cannot be loaded has a problem.
    ready = any(answering) and not any(state.version is None and state.problem for state in states.values())
    return Readiness(ready=ready, models=states)
