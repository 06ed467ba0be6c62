"""What the board takes and answers, field by field; see `service.api.schemas`."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.store.records import BoardOrder

ID_FORM: Final = r"^[A-Za-z0-9_-]{1,64}$"
MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


class RatingRequest(_Part):
    """What somebody thinks of a greentext; each session has one opinion of each, the latest."""

    generation_id: str = Field(
        pattern=ID_FORM,
        description="The id that came with the greentext.",
    )
    rating: Literal["good", "bad"] | None = Field(description="Null takes a rating back.")


class RatingResponse(_Part):
    """How it stands."""

    generation_id: str
    rating: Literal["good", "bad"] | None
    saved: bool = Field(description="False, with status 202, while the database is away: it waits to be saved.")
    good: int | None = Field(description="How many think it good, with this rating; null if it is not saved yet.")
    bad: int | None = Field(description="How many think it bad.")


class SharingRequest(_Part):
    """Whether others may see a greentext."""

    shared: bool = Field(description="Whether to show it on the board, if the content policy has nothing against it.")


class SharingResponse(_Part):
    """While the database is away."""

    id: str
    shared: bool
    saved: bool = Field(description="False: it waits to be saved.")


class BoardQuery(BaseModel):
    """Which part of the board."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: BoardOrder = Field(
        BoardOrder.RECENT,
        description="`recent`: the newest first. `best`: by the lower bound of the Wilson score interval of their "
        "ratings, those that nobody thinks good left out.",
    )
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many.")
    after: str | None = Field(None, max_length=512, description="`next` of the page before.")


class KeptGreentext(_Part):
    """A greentext that is kept."""

    id: str
    text: str
    lines: list[str] = Field(description="Its lines, without the `>`.")
    model: str
    model_edition: str = Field(description="Of the model that wrote it, as `edition` in `GET /models`.")
    created_s: float = Field(description="Seconds since 1970.")
    finish_reason: str
    prompt: str | None = Field(description="The beginning that was continued; null where it is not kept.")
    seed: int | None = Field(description="With edition, prompt and sampling it gives the text again.")
    sampling: dict[str, Any] | None = Field(
        description="The sampling parameters that it was written with. Null where they are not kept, and to others "
        "where they hold stop strings or biases."
    )
    good: int = Field(description="How many think it good.")
    bad: int
    your_rating: Literal["good", "bad"] | None
    mine: bool = Field(description="Whether it was written for the session that asks, which may delete it.")
    shared: bool = Field(description="Whether it was written to be shown to others.")
    on_board: bool = Field(description="Whether it is: shared, and with nothing in it that the content policy minds.")
    reason: str | None = Field(
        description="A few words why it is shared and yet not on the board; null to others.", examples=["violent"]
    )


class BoardResponse(_Part):
    """A page of the board. While others rate, a text can be on two pages of the best, or on none."""

    order: Literal["recent", "best"]
    greentexts: list[KeptGreentext]
    next: str | None = Field(description="What to give as `after` for the next page; null on the last.")
