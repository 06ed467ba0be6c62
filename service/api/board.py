"""The board: `POST /ratings`, `GET /board`, `GET`, `PATCH` and `DELETE /generations/{id}`, `POST` and
`DELETE /session`.

Nothing here waits for a database for long: a question that is not answered in time is answered with a 503 and
Retry-After, and a rating that is not saved in time with a 202, since it is still going to be.
"""

import asyncio
import logging
import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPMethod
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.board_schemas import ID_FORM, BoardQuery, RatingRequest, SharingRequest
from service.api.edition import edition
from service.api.errors import ApiError, ErrorType, from_validation, invalid
from service.api.guard import BodyGuard
from service.api.responses import json_response
from service.api.sessions import SessionLimiter, forget, session_id_of, session_of
from service.settings import Settings
from service.store.errors import CursorError, StoreError, StoreFullError, StoreOffError, StoreUnavailableError
from service.store.records import Rating, StoredGeneration, Verdict, WriteResult
from service.store.store import Store, StoreState

READ_WITHIN_S: Final = 3.0
"""A little longer than the database itself gives a question (`service.store.database`)."""
WRITE_WITHIN_S: Final = 2.5
"""Longer than a rating waits for its generation (`service.store.writer`)."""
RETRY_AFTER_S: Final = 5
GENERATION_ID: Final = re.compile(ID_FORM)

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


class BoardApi:
    """The endpoints."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._ratings = SessionLimiter(settings.ratings_per_minute)
        self._reads = SessionLimiter(settings.board_reads_per_minute)

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        guard = [Middleware(BodyGuard, settings=self._settings)]
        return [
            Route("/ratings", self.rate, methods=[HTTPMethod.POST], middleware=guard),
            Route("/board", self.board),
            Route("/generations/{id}", self.generation),
            Route("/generations/{id}", self.share, methods=[HTTPMethod.PATCH], middleware=guard),
            Route("/generations/{id}", self.delete, methods=[HTTPMethod.DELETE]),
            Route("/session", self.begin, methods=[HTTPMethod.POST]),
            Route("/session", self.erase, methods=[HTTPMethod.DELETE]),
        ]

    async def rate(self, request: Request) -> Response:
        """Takes a rating, changes it, or takes it back."""
        try:
            asked = RatingRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error) from None
        session = session_of(request)
        _limit(self._ratings, session.id)
        rating = None if asked.rating is None else Rating(asked.rating)
        result = await self._write(lambda: self._store.rate(asked.generation_id, session.id, rating))
        response = json_response(
            {
                "generation_id": asked.generation_id,
                "rating": asked.rating,
                "saved": result is not None,
                "good": result and result.good,
                "bad": result and result.bad,
            }
        )
        response.status_code = 202 if result is None else 200
        session.give(response, request)
        return response

    async def board(self, request: Request) -> Response:
        """A page of what others wrote and shared."""
        if not self._settings.board_public:
            raise ApiError(ErrorType.NOT_FOUND, "the board is closed here")
        try:
            asked = BoardQuery.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise from_validation(error) from None
        session = session_of(request)
        _limit(self._reads, session.id)
        try:
            page = await self._read(
                lambda: self._store.board(asked.order, limit=asked.limit, after=asked.after, session_id=session.id)
            )
        except CursorError as error:
            raise invalid("after", str(error)) from None
        response = json_response(
            {
                "order": asked.order.value,
                "greentexts": [_shown(generation) for generation in page.generations],
                "next": page.next_cursor,
            }
        )
        session.give(response, request)
        return response

    async def generation(self, request: Request) -> Response:
        """One text, for whoever knows its id; where the board is closed, for the session that it was written for."""
        generation_id = _id_of(request)
        session_id = session_id_of(request)
        _limit(self._reads, session_id)
        found = await self._read(lambda: self._store.find(generation_id, session_id))
        if found is None or not (self._settings.board_public or found.mine or found.deleted):
            raise _unknown()
        if found.deleted:
            raise _gone()
        response = json_response(_shown(found))
        response.headers["cache-control"] = "private, no-store"
        return response

    async def share(self, request: Request) -> Response:
        """Lets others see a text, or no longer, at the wish of the session that it was written for."""
        generation_id = _id_of(request)
        try:
            asked = SharingRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error) from None
        session_id = session_id_of(request)
        if session_id is None:
            raise _unknown()
        _limit(self._ratings, session_id)
        result = await self._write(lambda: self._store.share(generation_id, session_id, shared=asked.shared))
        if result is None or result.generation is None:
            response = json_response({"id": generation_id, "shared": asked.shared, "saved": False})
            response.status_code = 202
        else:
            response = json_response(_shown(result.generation))
        response.headers["cache-control"] = "private, no-store"
        return response

    async def delete(self, request: Request) -> Response:
        """Deletes a text, at the wish of the session that it was written for."""
        generation_id = _id_of(request)
        session_id = session_id_of(request)
        if session_id is None:
            raise _unknown()
        _limit(self._ratings, session_id)
        result = await self._write(lambda: self._store.delete(generation_id, session_id))
        return Response(status_code=202 if result is None else 204)

    async def begin(self, request: Request) -> Response:
        """Makes a session where there is none, so that the texts written from now on belong to it."""
        if self._store.state in (StoreState.OFF, StoreState.UNWRITABLE):
            raise self._off()
        session = session_of(request)
        _limit(self._reads, session.id)
        response = Response(status_code=204)
        session.give(response, request)
        return response

    async def erase(self, request: Request) -> Response:
        """Forgets a session: its texts, its ratings, its cookie."""
        session_id = session_id_of(request)
        result: WriteResult | None = WriteResult(Verdict.DONE)
        if session_id is not None:
            _limit(self._ratings, session_id)
            result = await self._write(lambda: self._store.erase(session_id))
        response = Response(status_code=202 if result is None else 204)
        forget(response, request)
        return response

    async def _read(self, ask: Callable[[], Future[Answer]]) -> Answer:
        """An answer of the database. Raises ApiError, CursorError."""
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                return await asyncio.wrap_future(ask())
        except TimeoutError:
            raise _away() from None
        except StoreOffError:
            raise self._off() from None
        except StoreUnavailableError as error:
            logger.info("a question was not answered: %s", error)
            raise _away() from None

    async def _write(self, hand_in: Callable[[], Future[WriteResult]]) -> WriteResult | None:
        """What became of a change; None if it is not saved yet. Raises ApiError."""
        try:
            future = asyncio.wrap_future(hand_in())
            # It is going to be saved, or not, whether or not anybody waits for it.
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            async with asyncio.timeout(WRITE_WITHIN_S):
                result = await asyncio.shield(future)
        except TimeoutError:
            return None
        except StoreOffError:
            raise self._off() from None
        except StoreFullError:
            raise _away() from None
        except StoreError:
            raise ApiError(ErrorType.INTERNAL, "this cannot be saved; the log says more") from None
        match result.verdict:
            case Verdict.UNKNOWN | Verdict.NOT_YOURS:
                raise _unknown()
            case Verdict.DELETED:
                raise _gone()
            case _:
                return result

    def _off(self) -> ApiError:
        match self._store.state:
            case StoreState.OFF:
                return ApiError(ErrorType.NOT_FOUND, "greentexts are not kept here")
            case StoreState.UNWRITABLE:
                return ApiError(ErrorType.UNAVAILABLE, "greentexts cannot be kept here; the log says why")
            case _:
                return _away()


def _limit(limiter: SessionLimiter, session_id: str | None) -> None:
    if (wait_s := limiter.wait_s(session_id)) > 0:
        retry_after_s = max(1, math.ceil(wait_s))
        raise ApiError(
            ErrorType.RATE_LIMITED,
            f"that was too often; try again in {retry_after_s} s",
            headers={"retry-after": str(retry_after_s)},
        )


def _id_of(request: Request) -> str:
    generation_id: str = request.path_params["id"]
    if not GENERATION_ID.fullmatch(generation_id):
        raise _unknown()
    return generation_id


def _unknown() -> ApiError:
    return ApiError(ErrorType.NOT_FOUND, "there is no such greentext of yours; it may have been too old to be kept")


def _gone() -> ApiError:
    return ApiError(ErrorType.GONE, "this greentext was deleted")


def _away() -> ApiError:
    return ApiError(
        ErrorType.UNAVAILABLE,
        "what is kept cannot be reached now; greentexts are still written",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def _shown(generation: StoredGeneration) -> dict[str, Any]:
    return {
        "id": generation.id,
        "text": generation.text,
        "lines": [line.removeprefix(">").strip() for line in generation.text.split("\n") if line.strip()],
        "model": generation.model,
        "model_edition": edition(generation.bundle_sha256),
        "created_s": generation.created_s,
        "finish_reason": generation.finish_reason,
        "prompt": generation.prompt,
        "seed": generation.seed,
        "sampling": _shown_sampling(generation),
        "good": generation.good,
        "bad": generation.bad,
        "your_rating": generation.your_rating,
        "mine": generation.mine,
        "shared": generation.shared,
        "on_board": generation.on_board,
        "reason": _reason(generation),
    }


def _reason(generation: StoredGeneration) -> str | None:
    """Why a text is shared and not on the board, in a few words; that is for its own session to know."""
    if not generation.mine or not generation.declined:
        return None
    return ", ".join(word.replace("_", " ") for word in generation.declined)


def _shown_sampling(generation: StoredGeneration) -> Mapping[str, Any] | None:
    """What was asked for; to others not where it holds words or tables of the client's own, which nobody judged."""
    sampling = generation.sampling
    if sampling is not None and not generation.mine and (sampling.get("stop") or sampling.get("logit_bias")):
        return None
    return sampling
