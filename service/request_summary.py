"""What there is to tell of a request that is over, to its line in the log and to its spans: never what it says.

Knows nothing of HTTP, logs or traces. Times are those of `time.perf_counter`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.engine.sampling_params import SamplingParams
    from service.engine.sequence import Sequence

PHASES: Final = ("queue", "prefill", "decode")
STILL_GOING: Final = "abort"
"""Why a text ended whose request is over before the engine has noticed."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a text's time."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TextSummary:
    """One text of a request."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    phases: tuple[Phase, ...]
    """Those that it came to: `queue`, `prefill`, `decode`, each from where the one before ended."""


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """What the engine did for a request: `params.n` texts for each of its prompts, prompt by prompt."""

    model: str
    params: "SamplingParams"
    is_stream: bool
    texts: tuple[TextSummary, ...]

    @property
    def prompt_tokens(self) -> int:
        """Tokens read, once for each prompt."""
        return sum(text.prompt_tokens for text in self.texts[:: self.params.n])

    @property
    def completion_tokens(self) -> int:
        """Tokens written."""
        return sum(text.completion_tokens for text in self.texts)

    def phases_s(self) -> Iterator[tuple[str, float]]:
        """How long the texts took for each phase that one of them came to: the longest of them, as answers tell it."""
        for name in PHASES:
            took_s = [phase.end_s - phase.start_s for text in self.texts for phase in text.phases if phase.name == name]
            if took_s:
                yield name, max(took_s)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A request that is over."""

    request_id: str
    method: str
    route: str | None
    """The pattern of its path, `/models/{model}`; None where there is no such path."""
    started_s: float
    ended_s: float
    status: int | None
    """None, if it was over before an answer began."""
    error: str | None
    """What was wrong, in the words of our own errors, be it told with the status or in the stream."""
    failed: bool
    """Whether that is the service's fault: a refusal is not, nor is a client that leaves."""
    client_gone: bool
    """Whether its client left, or was given up, before the answer's end."""
    generation: GenerationSummary | None


def text_summary(sequence: "Sequence", now_s: float) -> TextSummary:
    """A text as it stands; what has not ended, ends `now_s`."""
    # The engine's thread may still be at it: nothing is read twice, and nothing is later than the end.
    ended_s = sequence.finished_s or now_s
    started_s, first_token_s = sequence.started_s, sequence.first_token_s
    edges = [sequence.arrived_s, *(min(edge_s, ended_s) for edge_s in (started_s, first_token_s) if edge_s), ended_s]
    phases = tuple(map(Phase, PHASES, edges, edges[1:]))
    reason = sequence.finish_reason
    return TextSummary(
        prompt_tokens=len(sequence.prompt_ids),
        completion_tokens=len(sequence.output_ids),
        finish_reason=STILL_GOING if reason is None else reason.value,
        phases=phases,
    )
