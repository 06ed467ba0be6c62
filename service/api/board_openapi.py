"""The board's part of the API's description."""

from typing import Any, Final

from pydantic import BaseModel

from service.api.board_schemas import (
    BoardQuery,
    BoardResponse,
    KeptGreentext,
    RatingRequest,
    RatingResponse,
    SharingRequest,
    SharingResponse,
)
from service.api.schemas import ErrorResponse

BOARD_REQUESTS: Final[dict[type[BaseModel], dict[str, Any]]] = {
    RatingRequest: {
        "good": {"summary": "A good one", "value": {"generation_id": "pb7MT2YyRLuaCLPTp8ch-A", "rating": "good"}},
        "none": {"summary": "Take it back", "value": {"generation_id": "pb7MT2YyRLuaCLPTp8ch-A", "rating": None}},
    },
    SharingRequest: {"share": {"summary": "Put it on the board", "value": {"shared": True}}},
}
BOARD_ANSWERS: Final[tuple[type[BaseModel], ...]] = (BoardResponse, KeptGreentext, RatingResponse, SharingResponse)
BOARD_TAG: Final = {"name": "board", "description": "What others wrote and shared, and what people think of it."}

FAULTS: Final = {
    400: "A field of the request cannot be; the message names it.",
    404: "There is no such greentext, or it is not yours to change; or nothing is kept here.",
    410: "The greentext was deleted.",
    429: "That was too often for one session.",
    503: "The database cannot be reached now.",
}
GENERATION_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def board_paths() -> dict[str, Any]:
    """The paths, with references to schemas of `BOARD_REQUESTS` and `BOARD_ANSWERS`."""
    kept = _json(KeptGreentext, "The greentext.")
    return {
        "/ratings": {
            "post": {
                **_operation("Rate a greentext, good or bad", "rate"),
                "requestBody": _body(RatingRequest),
                "responses": {
                    "200": _json(RatingResponse, "How it stands."),
                    "202": _json(RatingResponse, "It waits to be saved."),
                    **_faults(400, 404, 410, 429, 503),
                },
            }
        },
        "/board": {
            "get": {
                **_operation("Greentexts that were shared, the newest or the best first", "board"),
                "parameters": _query_parameters(),
                "responses": {"200": _json(BoardResponse, "A page."), **_faults(400, 404, 429, 503)},
            }
        },
        "/generations/{id}": {
            "parameters": [GENERATION_ID],
            "get": {
                **_operation("A greentext, for who knows its id", "generation"),
                "responses": {"200": kept, **_faults(404, 410, 429, 503)},
            },
            "patch": {
                **_operation("Put a greentext of this session on the board, or take it off", "share"),
                "requestBody": _body(SharingRequest),
                "responses": {
                    "200": _json(KeptGreentext, "How it is shown now; `reason` says why it is not."),
                    "202": _json(SharingResponse, "It waits to be saved."),
                    **_faults(400, 404, 410, 429, 503),
                },
            },
            "delete": {
                **_operation("Delete a greentext that was written for this session", "deleteGeneration"),
                "responses": {**_deleted(), **_faults(404, 410, 429, 503)},
            },
        },
        "/session": {
            "post": {
                **_operation("Make a session, that texts belong to from now on", "session"),
                "responses": {"204": {"description": "There is one; its cookie comes with the answer."}}
                | _faults(404, 429, 503),
            },
            "delete": {
                **_operation("Forget this session, its greentexts and its ratings", "deleteSession"),
                "responses": {**_deleted(), **_faults(429, 503)},
            },
        },
    }


def _operation(summary: str, operation: str) -> dict[str, Any]:
    return {"summary": summary, "operationId": operation, "tags": [BOARD_TAG["name"]]}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _json(model: type[BaseModel], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(model)}}}


def _body(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(model), "examples": BOARD_REQUESTS[model]}}
    return {"required": True, "content": content}


def _deleted() -> dict[str, Any]:
    return {"204": {"description": "Done."}, "202": {"description": "It waits to be done."}}


def _faults(*statuses: int) -> dict[str, Any]:
    return {str(status): _json(ErrorResponse, FAULTS[status]) for status in statuses}


def _query_parameters() -> list[dict[str, Any]]:
    schema = BoardQuery.model_json_schema(ref_template="{model}")
    parameters = []
    for name, field in schema["properties"].items():
        given = {key: value for key, value in field.items() if key != "description"}
        if "$ref" in given:
            given = {"enum": schema["$defs"][given.pop("$ref")]["enum"], "type": "string", **given}
        parameters.append({"name": name, "in": "query", "description": field["description"], "schema": given})
    return parameters
