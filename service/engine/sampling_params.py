"""What a request asks of sampling, validated once. Knows nothing of models, text or HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MAX_SEED = 2**63 - 1
MAX_N = 64
MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256
MAX_LOGPROBS = 20
MAX_LOGIT_BIASES = 1024


class SamplingParamsError(ValueError):
    """A sampling parameter is out of range. ``field`` names it; the message says what is allowed."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(f"{field_name} {message}")
        self.field = field_name
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How one request is sampled. Definitions are those of ``transformers``' logits processors.

    Order of application: logit_bias, repetition, frequency and presence penalty, minimum length, temperature,
    top_k, top_p, min_p, typical_p. Raises SamplingParamsError for a value out of range.
    """

    temperature: float = 1.0
    """0 is greedy: the most likely token, seed and filters without effect."""
    opening_temperature: float | None = None
    """In place of ``temperature`` up to the end of the first line, the prompt's lines counted. None changes nothing;
    where ``temperature`` is 0, no other value does. At a low temperature the lines of a small model follow from each
    other, and all its texts begin alike; with this they need not."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of most likely tokens whose probabilities add up to at least this; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this times as likely as the most likely one; 0 keeps all."""
    typical_p: float = 1.0
    """Locally typical sampling (Meister et al. 2022); 1 keeps all."""
    repetition_penalty: float = 1.0
    """Divide positive and multiply negative logits of every token in prompt and output (Keskar et al. 2019)."""
    presence_penalty: float = 0.0
    """Subtract from the logit of each token already in the output (OpenAI's definition)."""
    frequency_penalty: float = 0.0
    """Subtract this times the number of times the token is in the output (OpenAI's definition)."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""
    seed: int | None = None
    """The same seed, prompt and parameters give the same text, alone or in any batch. None draws one."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these strings; it is not part of the text."""
    max_new_tokens: int = 96
    min_new_tokens: int = 0
    """The end token cannot be sampled before this many tokens."""
    ignore_eos: bool = False
    """Go on after the end token as after any other, to max_new_tokens: for measurements that need a length."""
    n: int = 1
    """How many texts; text i is sampled with seed + i."""
    logprobs: int | None = None
    """Report the log probability of each token, and of this many most likely alternatives."""

    def __post_init__(self) -> None:
        """Checks every field."""
        self._number("temperature", 0.0, 100.0)
        if self.opening_temperature is not None:
            self._number("opening_temperature", 0.0, 100.0, low_open=True)
        self._number("top_p", 0.0, 1.0, low_open=True)
        self._number("min_p", 0.0, 1.0)
        self._number("typical_p", 0.0, 1.0, low_open=True)
        self._number("repetition_penalty", 0.01, 100.0)
        self._number("presence_penalty", -100.0, 100.0)
        self._number("frequency_penalty", -100.0, 100.0)
        self._integer("top_k", 0, 2**31 - 1)
        self._integer("max_new_tokens", 1, 2**31 - 1)
        self._integer("min_new_tokens", 0, self.max_new_tokens)
        self._integer("n", 1, MAX_N)
        if not isinstance(self.ignore_eos, bool):
            raise SamplingParamsError("ignore_eos", f"must be true or false, got {self.ignore_eos!r}")
        if self.seed is not None:
            self._integer("seed", 0, MAX_SEED)
        if self.logprobs is not None:
            self._integer("logprobs", 0, MAX_LOGPROBS)
        if not isinstance(self.stop, tuple):
            raise SamplingParamsError("stop", f"must be a tuple of strings, got {self.stop!r}")
        if len(self.stop) > MAX_STOP_STRINGS:
            raise SamplingParamsError("stop", f"must hold at most {MAX_STOP_STRINGS} strings, got {len(self.stop)}")
        for text in self.stop:
            if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
                raise SamplingParamsError("stop", f"must hold strings of 1 to {MAX_STOP_CHARACTERS} characters")
        if not isinstance(self.logit_bias, Mapping):
            raise SamplingParamsError("logit_bias", f"must map token ids to numbers, got {self.logit_bias!r}")
        if len(self.logit_bias) > MAX_LOGIT_BIASES:
            raise SamplingParamsError("logit_bias", f"must hold at most {MAX_LOGIT_BIASES} tokens")
        for token, bias in self.logit_bias.items():
            if not isinstance(token, int) or isinstance(token, bool) or token < 0 or not _within(bias, -100.0, 100.0):
                raise SamplingParamsError("logit_bias", "must map token ids to numbers from -100 to 100")

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken at each step."""
        return self.temperature == 0.0

    def expand(self) -> list[SamplingParams]:
        """One SamplingParams a text: n = 1 each, seeds counting up from ``seed`` (which must be set)."""
        if self.seed is None:
            raise SamplingParamsError("seed", "must be set before the texts of a request are told apart")
        return [replace(self, n=1, seed=(self.seed + i) % (MAX_SEED + 1)) for i in range(self.n)]

    def _number(self, name: str, low: float, high: float, *, low_open: bool = False) -> None:
        value = getattr(self, name)
        if not _within(value, low, high) or (low_open and value == low):
            above = "above" if low_open else "at least"
            raise SamplingParamsError(name, f"must be a number {above} {low:g} and at most {high:g}, got {value!r}")

    def _integer(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SamplingParamsError(name, f"must be a whole number from {low} to {high}, got {value!r}")


def _within(value: object, low: float, high: float) -> bool:
    """Whether it is a number in these bounds; NaN is in none, an integer may be of any size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
