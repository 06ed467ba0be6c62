"""Every limit and choice of the service, by name: a field here is read from the environment as GREENTEXT_<NAME>.

Whoever runs the service finds the same names, defaults and meanings in `docs/settings.md`. A value that cannot be, and
a name that does not exist, stop the service at its start. Knows nothing of HTTP or of the engine.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

PREFIX: Final = "GREENTEXT_"
DEFAULT_MODELS_DIR: Final = Path(__file__).resolve().parent.parent / "models"
DEFAULT_MODEL_DIR: Final = DEFAULT_MODELS_DIR / "greentext-thanks"
MODEL_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}"
DATABASE_URL: Final = re.compile(r"none|sqlite(\+pysqlite)?:///.+|postgres(ql)?(\+psycopg)?://.*")


class SettingsError(ValueError):
    """An environment variable of ours has a value that cannot be, or a name that does not exist."""


def _words(value: object) -> object:
    """The words of a comma separated list."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _pairs(value: object) -> object:
    """The pairs of a comma separated list of `name=name`."""
    if not isinstance(value, str):
        return value
    pairs = tuple(tuple(part.strip() for part in word.split("=")) for word in value.split(",") if word.strip())
    for pair in pairs:
        if len(pair) != 2 or not all(re.fullmatch(MODEL_NAME, name) for name in pair):
            raise ValueError("must be pairs of names such as alias=model, separated by commas")
    if len({alias for alias, _ in pairs}) < len(pairs):
        raise ValueError("has an alias twice")
    return pairs


def _database_url(value: SecretStr | None) -> SecretStr | None:
    """A URL of a kind that the store knows; it reads the rest. The value itself, a secret, is in no message."""
    if value is not None and not DATABASE_URL.fullmatch(value.get_secret_value()):
        raise ValueError("give sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or none")
    return value


class Settings(BaseModel):
    """How the service runs. Sizes are in the unit that the name ends in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model_dir: Path = Field(DEFAULT_MODEL_DIR, description="The bundle of the default model: a directory.")
    model_name: str | None = Field(
        None,
        pattern=f"^{MODEL_NAME}$",
        description="The name that the default model is served under; unset, the one in its manifest.",
    )
    models_dir: Path = Field(
        DEFAULT_MODELS_DIR,
        description="Each bundle in this directory is served as well, loaded when somebody asks for it.",
    )
    model_memory_bytes: int = Field(
        1024**3,
        ge=1024,
        description="Memory for models in each worker, each counted as its files and its keys and values; for another "
        "to come, those that nobody has asked for the longest go. The default model stays.",
    )
    model_aliases: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)] = Field(
        (), description="Other names of models, comma separated (`alias=model`)."
    )
    max_slots: int = Field(64, ge=1, le=4096, description="Texts that are written at once.")
    max_waiting: int = Field(
        256, ge=0, le=65536, description="Texts that wait for a slot; beyond it the answer is 429 with Retry-After."
    )
    context_tokens: int | None = Field(
        None, ge=2, le=131072, description="Tokens that a text may have, prompt and all; unset, what the model can."
    )
    kv_memory_bytes: int = Field(
        128 * 1024**2,
        ge=1024,
        description="Memory for keys and values; there are no more slots than fit.",
    )
    prefill_chunk_tokens: int = Field(
        256, ge=1, le=131072, description="Tokens of a prompt that are read between two decode steps."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads that compute; 0 is the container's CPU limit.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve, each with the model and slots of its own.")
    deadline_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Time that a request may take, waiting included; then its texts end as they are.",
    )
    max_body_bytes: int = Field(64 * 1024, ge=2, le=16 * 1024**2, description="Size of a request's body.")
    body_timeout_s: float = Field(10.0, gt=0, le=3600, description="Time in which a request's body must have come.")
    max_prompt_characters: int = Field(4096, ge=0, le=1_000_000, description="Length of a prompt.")
    max_new_tokens: int = Field(1024, ge=1, le=131072, description="Most new tokens that a request may ask for.")
    max_n: int = Field(16, ge=1, le=64, description="Most texts that one request may ask for.")
    max_unread_events: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Events that a slow reader of a stream may leave unread; then it is dropped.",
    )
    ping_interval_s: float = Field(
        15.0, gt=0, le=3600, description="Silence after which a stream sends a comment line."
    )
    drain_s: float = Field(20.0, ge=0, le=3600, description="Time that running texts have to end once asked to stop.")
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        (),
        description="Origins whose pages may call the service, comma separated (`https://example.org`); `*` is all.",
    )
    access_log: bool = Field(False, description="A line in the log for each request; costs 0.1 ms of a processor.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of the log: `text` for people, or `json`, one object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(
        None,
        description="What the log holds at least of what BentoML and the service have to say; unset, BentoML's choice.",
    )

    database_url: Annotated[SecretStr | None, AfterValidator(_database_url)] = Field(
        None,
        description="Where generations and ratings are kept: `sqlite:///FILE`, "
        "`postgresql://USER:PASSWORD@HOST/NAME`, or `none`; unset, a file in the data folder.",
    )
    data_dir: Path = Field(
        Path("runs/service"),
        description="The data folder; where it cannot be written, and no database is set, nothing is kept.",
    )
    database_queue: int = Field(
        4096, ge=1, le=1_000_000, description="Rows that wait while the database is away; more are dropped, counted."
    )
    retention_days: float = Field(
        30.0, ge=0, le=36500, description="How long generations, ratings and sessions are kept; 0 is for ever."
    )
    store_prompts: bool = Field(
        True, description="Keep the beginnings that clients send; if not, they are kept only in texts that are shared."
    )
    board_public: bool = Field(
        True,
        description="Whether `/board` shows shared texts to all, and `/generations/ID` a text to who knows its id.",
    )
    ratings_per_minute: int = Field(
        60,
        ge=1,
        le=100_000,
        description="Ratings and changes that a session may send; all new sessions, ten times as many.",
    )
    board_reads_per_minute: int = Field(
        240,
        ge=1,
        le=100_000,
        description="Pages and texts that a session may ask for; all new sessions, ten times as many.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings that an environment gives, defaults elsewhere.

        Raises:
            SettingsError: A variable of ours is unknown or has a bad value; the message names each.
        """
        given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        known = {variable(field): field for field in cls.model_fields}
        if unknown := sorted(given.keys() - known.keys()):
            raise SettingsError(f"no such setting: {', '.join(unknown)} (docs/settings.md lists those there are)")
        try:
            return cls.model_validate({known[name]: value for name, value in given.items()})
        except ValidationError as error:
            faults = [f"{variable(str(fault['loc'][0]))}: {fault['msg']}" for fault in error.errors(include_url=False)]
            raise SettingsError("; ".join(faults)) from None


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return PREFIX + field.upper()
