"""What those on a request's way note of it, for its line in the log and its spans. Where nobody wants either there is
nothing to note in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from service.api.errors import ErrorType
from service.engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from service.engine.sequence import Sequence

KEY: Final = "watched"


@dataclass(slots=True, eq=False)
class WatchedGeneration:
    """What was handed to the engine."""

    model: str
    params: SamplingParams
    is_stream: bool
    sequences: "list[Sequence]"


@dataclass(slots=True, eq=False)
class Watched:
    """What is known of a request so far. Refers to nothing that refers to it: nobody has to collect it."""

    error_type: ErrorType | None = None
    client_gone: bool = False
    generation: WatchedGeneration | None = None


def watched_in(scope: Scope) -> Watched | None:
    """What is to be noted in, if somebody watches this request."""
    watched: Watched | None = scope.get("state", {}).get(KEY)
    return watched


def note_error(scope: Scope, error_type: ErrorType) -> None:
    """A request is answered with an error, or its stream ends in one."""
    if (watched := watched_in(scope)) is not None:
        watched.error_type = error_type


def note_client_gone(scope: Scope) -> None:
    """A request's client has left, or is given up."""
    if (watched := watched_in(scope)) is not None:
        watched.client_gone = True
