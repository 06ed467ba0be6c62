"""What requests may say, checked before anything else sees it. Unknown keys are left aside."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_pipeline.curation.decisions import Action  # noqa: TC001 - pydantic needs it to make the fields
from data_pipeline.curation.errors import BadRequestError
from data_pipeline.curation.incoming import MAX_TEXT_CHARACTERS

RowId = Annotated[str | int, Field()]
Tab = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
Version = Annotated[int, Field(ge=0, le=2**53)]
RequestId = Annotated[str, Field(min_length=1, max_length=100)]


class Body(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class SignIn(Body):
    """`POST /api/session`."""

    person: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=1000)] | None = None


class Next(Body):
    """`POST /api/rows/next`."""

    filter: dict[str, Any] = Field(default_factory=dict)
    after: RowId | None = None
    tab: Tab = ""


class Previous(Body):
    """`POST /api/rows/previous`."""

    filter: dict[str, Any] = Field(default_factory=dict)
    before: RowId
    tab: Tab = ""


class Lease(Body):
    """`POST /api/rows/ID/lease`."""

    tab: Tab = ""


class Draft(Body):
    """`PUT /api/rows/ID/draft`."""

    text: Text
    version: Version
    tab: Tab = ""


class DecisionBody(Body):
    """`POST /api/rows/ID/decision`."""

    action: Action
    text: Text
    version: Version
    request_id: RequestId
    tab: Tab = ""
    genre: Annotated[str, Field(max_length=40)] | None = None
    reason: Annotated[str, Field(max_length=40)] | None = None
    note: Annotated[str, Field(max_length=2000)] | None = None


class Undo(Body):
    """`POST /api/undo`."""

    request_id: RequestId
    skip: bool = False


B = TypeVar("B", bound=Body)


def body_of(kind: type[B]) -> B:
    """The request's body.

    Raises:
        BadRequestError: It is no JSON, or does not say what it must.
        werkzeug.exceptions.RequestEntityTooLarge: It is larger than the application takes.
    """
    if request.mimetype != "application/json":
        raise BadRequestError("Send JSON: Content-Type must be application/json.", status=400)
    content = request.get_data(cache=False)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            raise BadRequestError(f"The body is no JSON: {problems[0]['msg']}.", status=400) from error
        fields = [{"field": ".".join(map(str, problem["loc"])), "message": problem["msg"]} for problem in problems]
        said = f"{fields[0]['field']}: {fields[0]['message']}" if fields[0]["field"] else fields[0]["message"]
        raise BadRequestError(f"{said}.", fields=fields) from error
