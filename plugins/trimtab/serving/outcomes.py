"""`/models/{model}/feedback`: what became of answers, by the ids of their requests."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from anyio import to_thread
from fastapi import FastAPI
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, create_model
from starlette.requests import Request
from starlette.responses import Response

from trimtab.adapters.outcome_log import Outcome
from trimtab.domain.interaction import OUTCOME_KINDS
from trimtab.domain.spec import ModelSpec
from trimtab.serving.messages import MAX_PROBLEMS, MAX_ROWS, MAX_TEXT, FeedbackAnswer, Message, RequestId, RowProblem
from trimtab.serving.model_server import ModelServer
from trimtab.serving.published import add_post, json_body, parsed, refusals, refused
from trimtab.serving.refusals import RefusalError, try_later
from trimtab.serving.row_check import SHOWN, in_words
from trimtab.serving.telemetry import Telemetry

Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
KINDS = f"must be an object whose kind is {', '.join(OUTCOME_KINDS[:-1])} or {OUTCOME_KINDS[-1]}"
STATUSES = (400, 401, 403, 408, 413, 415, 422, 503)


def _zero_or_one(value: float) -> float:
    if value not in (0, 1):
        raise ValueError("must be 0 or 1")
    return value


class OutcomeMessage(Message):
    """What became of an answer."""

    request_id: RequestId
    row: Annotated[int, Field(strict=True, ge=0, lt=MAX_ROWS)] | None = Field(
        default=None, description="Position of the row in its request; null: all its rows."
    )
    feedback_id: Annotated[str, Field(strict=True, max_length=100)] = Field(
        default="", description="Of several about the same row and of the same kind, those with other ids count beside."
    )


class OverrideMessage(OutcomeMessage):
    """Somebody decided otherwise."""

    kind: Literal["override"]
    value: Number | Annotated[str, Field(strict=True, max_length=MAX_TEXT)]


class InteractionMessage(OutcomeMessage):
    """Somebody asked again, or clicked."""

    kind: Literal["retry", "click"]
    value: None = None


class LabelMessage(OutcomeMessage):
    """What happened, as the label's column has it; or what somebody says that it should have been."""

    kind: Literal["label", "correction"]
    value: Number


class BinaryLabelMessage(OutcomeMessage):
    """What happened, or what somebody says that it should have been: 1 or 0."""

    kind: Literal["label", "correction"]
    value: Annotated[Number, AfterValidator(_zero_or_one)]


class DecisionMessage(OutcomeMessage):
    """What the person has decided about a row that was left to people."""

    kind: Literal["decision"]
    value: Number


class BinaryDecisionMessage(OutcomeMessage):
    """What the person has decided about a row that was left to people: 1 or 0."""

    kind: Literal["decision"]
    value: Annotated[Number, AfterValidator(_zero_or_one)]


class _Loose(Message):
    outcomes: Annotated[list[Any], Field(min_length=1, max_length=MAX_ROWS)]


def add_routes(app: FastAPI, server: ModelServer, telemetry: Telemetry) -> None:
    """Add the model's route."""
    spec = server.spec
    kind = _outcome_type(spec)
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    async def feedback(request: Request) -> Response:
        outcomes, problems = _checked(_read(await json_body(request)), adapter)
        if not outcomes:
            raise RefusalError(422, "None of the outcomes could be taken. Mend them and send them again.", problems)
        try:
            await to_thread.run_sync(server.outcomes.write, outcomes)
        except OSError as exc:
            raise try_later(f"The log of outcomes does not take them ({exc.strerror}).") from exc
        telemetry.told(spec.name, outcomes)
        answer = FeedbackAnswer(
            request_id=request.state.request_id, model=spec.name, taken=len(outcomes), problems=problems
        )
        return Response(answer.model_dump_json(), 202, media_type="application/json")

    add_post(
        app,
        f"/models/{spec.name}/feedback",
        feedback,
        _body_type(spec, kind),
        examples=[{"outcomes": [{"request_id": "42", "row": 0, "kind": "label", "value": 1.0}]}],
        status_code=202,
        response_model=FeedbackAnswer,
        responses=refusals(statuses=STATUSES),
        tags=["feedback"],
        operation_id=f"feedback_{spec.name}",
        summary=f"Tell what became of answers of {spec.name}",
        description="Outcomes are on disk when they are answered. One that is sent again counts once.",
    )


def _outcome_type(spec: ModelSpec) -> Any:  # a union of types
    is_binary = spec.label.task == "binary"
    label = BinaryLabelMessage if is_binary and spec.label.above is None else LabelMessage
    decision = BinaryDecisionMessage if is_binary else DecisionMessage
    return Annotated[label | decision | OverrideMessage | InteractionMessage, Field(discriminator="kind")]


def _body_type(spec: ModelSpec, outcome: Any) -> type[Message]:
    name = "".join(part.title() for part in spec.name.split("_"))
    outcomes: Any = Annotated[list[outcome], Field(min_length=1, max_length=MAX_ROWS)]
    return create_model(f"{name}Feedback", __base__=Message, __doc__="Outcomes.", outcomes=(outcomes, ...))


def _read(body: bytes) -> Sequence[object]:
    try:
        return _Loose.model_validate(parsed(body)).outcomes
    except ValidationError as exc:
        raise refused(exc) from exc


def _checked(outcomes: Sequence[object], adapter: TypeAdapter[Any]) -> tuple[list[Outcome], list[RowProblem]]:
    """The outcomes that are right, and what is wrong with the others."""
    taken: list[Outcome] = []
    problems: list[RowProblem] = []
    for position, outcome in enumerate(outcomes):
        try:
            taken.append(Outcome(**dict(adapter.validate_python(outcome))))
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]
            problems.extend(_problem(position, error) for error in errors)
    return taken, problems


def _problem(position: int, error: Mapping[str, Any]) -> RowProblem:
    where = error["loc"][1:2]  # behind the kind
    if not where:
        return RowProblem(row=position, problem=KINDS)
    return RowProblem(row=position, column=str(where[0])[:SHOWN], problem=in_words(error))
