"""`POST /tokenize` and `POST /detokenize`: what text is to a model, and back."""

from typing import Final

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import from_validation, invalid
from service.api.fields import MAX_MODEL_NAME_CHARACTERS, Part
from service.api.generation import Generation
from service.api.responses import json_response
from service.api.token_texts import spelling

MODEL_FIELD: Final = "A name from `GET /models`; null is the default model."


class TokenizeRequest(Part):
    """A text."""

    prompt: str = Field(
        description="Taken as it is: no `>` is put before it, and what spells a control token is plain text."
    )
    model: str | None = Field(None, max_length=MAX_MODEL_NAME_CHARACTERS, description=MODEL_FIELD)


class TokenizeResponse(Part):
    """Its tokens."""

    model: str
    tokens: list[int] = Field(description="Their ids, without the start token that the service puts before a prompt.")
    texts: list[str] = Field(description="What each stands for; `bytes:` and its bytes, if that is no whole character.")
    count: int
    start_token_id: int
    context_length: int = Field(description="Tokens that a text may have, prompt and start token and all.")


class DetokenizeRequest(Part):
    """Token ids."""

    tokens: list[int] = Field(description="Ids, as `POST /tokenize` gives them.")
    model: str | None = Field(None, max_length=MAX_MODEL_NAME_CHARACTERS, description=MODEL_FIELD)


class DetokenizeResponse(Part):
    """Their text."""

    model: str
    prompt: str = Field(description="Control tokens and an unfinished last character are left out.")


class TokensApi:
    """Both endpoints."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text."""
        try:
            asked = TokenizeRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error) from None
        limit = self._generation.settings.max_prompt_characters
        if len(asked.prompt) > limit:
            raise invalid("prompt", f"has {len(asked.prompt)} characters, and may have {limit}")
        model = await self._generation.model(asked.model, request)
        tokenizer = model.engine.tokenizer
        tokens = tokenizer.encode(asked.prompt)
        return json_response(
            {
                "model": model.name,
                "tokens": tokens,
                "texts": [spelling(tokenizer, token) for token in tokens],
                "count": len(tokens),
                "start_token_id": model.manifest.control_tokens.start.id,
                "context_length": model.engine.context_tokens,
            }
        )

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens."""
        try:
            asked = DetokenizeRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise from_validation(error) from None
        model = await self._generation.model(asked.model, request)
        vocab_size = model.manifest.vocab_size
        if not all(0 <= token < vocab_size for token in asked.tokens):
            raise invalid("tokens", f"must be ids from 0 to {vocab_size - 1}")
        return json_response({"model": model.name, "prompt": model.engine.tokenizer.decode(asked.tokens)})
