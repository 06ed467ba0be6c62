"""Every limit and choice of the service, by name: a field here is read from the environment as GREENTEXT_<NAME>.

Whoever runs the service finds the same names, defaults and meanings in `docs/settings.md`. A value that cannot be, and
a name that does not exist, stop the service at its start. Knows nothing of HTTP or of the engine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

PREFIX: Final = "GREENTEXT_"
DEFAULT_MODEL_DIR: Final = Path(__file__).resolve().parent.parent / "models" / "greentext-thanks"


class SettingsError(ValueError):
    """An environment variable of ours has a value that cannot be, or a name that does not exist."""


def _words(value: object) -> object:
    """The words of a comma separated list."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """How the service runs. Sizes are in the unit that the name ends in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model_dir: Path = Field(DEFAULT_MODEL_DIR, description="The model bundle to serve: a directory.")
    model_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        max_length=128,
        description="The name that the model is served under; unset, the one in its manifest.",
    )
    max_slots: int = Field(64, ge=1, le=4096, description="Texts that are written at once.")
    max_waiting: int = Field(
        256, ge=0, le=65536, description="Texts that wait for a slot; beyond it the answer is 429 with Retry-After."
    )
    context_tokens: int | None = Field(
        None, ge=2, le=131072, description="Tokens that a text may have, prompt and all; unset, what the model can."
    )
    kv_memory_bytes: int = Field(
        256 * 1024**2,
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
    access_log: bool = Field(
        False, description="A line in the log for each request; costs a tenth of the request rate."
    )
    tracing: bool = Field(False, description="BentoML's OpenTelemetry spans; cost a third of the request rate.")

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
