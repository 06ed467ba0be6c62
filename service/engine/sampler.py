"""Draws each row's next token from its logits, exactly as its SamplingParams say, for all rows at once.

A row's choice depends on its own logits, parameters, history and seed alone: one uniform number a step, drawn from
the row's seed, is looked up in the cumulative distribution over the kept tokens, most likely first (ties: the
lower id first). Definitions follow ``transformers``' logits processors.

Most requests keep few tokens (top_k) and only ever lower logits, so the best ``candidates`` of the graph's TopK hold
all that can be drawn: with penalties, the best k after them lie within the best k + (distinct tokens seen) before.
These rows are sampled together; the others one by one from their full logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.engine.errors import NonFiniteLogitsError
from service.engine.plain_rows import PlainRows
from service.engine.sequence import TokenLogprob

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.engine.sampling_params import SamplingParams

MAX_CANDIDATES = 1024
TIES = 4
"""Tokens beyond top_k that are looked at because their logits may equal the k-th."""
ID_MASK = np.int64(0xFFFFFFFF)
SIGN_MASK = np.int32(0x7FFFFFFF)
EMPTY = np.float32(-np.inf)
FEW_ROWS = 8
"""Up to so many rows are drawn in plain Python where their parameters let them."""
MIN_TEMPERATURE, MIN_TOP_P = 1e-20, 1e-30
"""What is smaller does the same, and would leave the range of 32-bit floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What a run of rows has in common from step to step."""

    first: int
    count: int
    rows: slice
    at: NDArray[np.int64]
    local: NDArray[np.int64]
    full: NDArray[np.bool_]
    top_k: NDArray[np.int64]
    widest: int
    least_needed: NDArray[np.int64]
    any_full: bool
    any_penalised: bool
    any_counted: bool
    any_min_p: bool
    any_logprobs: bool
    any_min_steps: bool
    common_top_k: int
    """What all rows share, or 0."""
    steps: NDArray[np.int64]
    """Views of the rows' state, as are those below."""
    min_steps: NDArray[np.int64]
    inverse_temperature: NDArray[np.float64]
    top_p: NDArray[np.float64]
    min_p: NDArray[np.float64]


class Sampler:
    """Sampling state of every slot, as arrays indexed by slot, and the draw over a run of them."""

    def __init__(
        self,
        slots: int,
        vocab_size: int,
        end_token_id: int,
        max_len: int,
        line_end_ids: frozenset[int] = frozenset(),
    ) -> None:
        """State for ``slots`` rows of at most ``max_len`` tokens; ``line_end_ids`` are the tokens with a newline."""
        self.vocab_size = vocab_size
        self.end_token_id = end_token_id
        self._params: list[SamplingParams | None] = [None] * slots
        self._seen = np.zeros((slots, vocab_size), np.uint8)
        self._counts = np.zeros((slots, vocab_size), np.uint16)
        self._seen_count = np.zeros(slots, np.int64)
        self._steps = np.zeros(slots, np.int64)
        self._uniforms = np.zeros((slots, max_len), np.float64)
        self._min_steps = np.zeros(slots, np.int64)
        self._top_k = np.ones(slots, np.int64)
        self._inverse_temperature = np.ones((slots, 1), np.float64)
        self._top_p = np.ones((slots, 1), np.float64)
        self._min_p = np.zeros((slots, 1), np.float64)
        self._repetition = np.ones((slots, 1), np.float32)
        self._presence = np.zeros((slots, 1), np.float32)
        self._frequency = np.zeros((slots, 1), np.float32)
        self._penalised = np.zeros(slots, np.bool_)
        self._counted = np.zeros(slots, np.bool_)
        self._full = np.zeros(slots, np.bool_)
        self._wants_logprobs = np.zeros(slots, np.bool_)
        self._batch: _Batch | None = None
        self._plain: PlainRows | None = None
        """The batch's, where its rows are few and want nothing unusual; counts their steps until ``_settle``."""
        self._line_end_ids = line_end_ids
        self._openings: dict[int, float] = {}
        """Slots whose first line has a temperature of its own, with the inverse of the one that comes after it."""
        self._bound = 0
        """At least as many candidates as any row of the batch needs, counted up from step to step."""
        self._offsets = (np.arange(slots) * vocab_size)[:, None]
        self._states: tuple[NDArray[np.generic], ...] = (
            self._seen, self._counts, self._seen_count, self._steps, self._uniforms, self._min_steps, self._top_k,
            self._inverse_temperature, self._top_p, self._min_p, self._repetition, self._presence, self._frequency,
            self._penalised, self._counted, self._full, self._wants_logprobs,
        )  # fmt: skip

    def admit(self, slot: int, prompt_ids: list[int], params: SamplingParams) -> None:
        """Starts a row: its prompt counts as seen, its random numbers are drawn from its seed (which must be set)."""
        if params.seed is None:
            msg = "a sequence must have a seed before it is sampled"
            raise ValueError(msg)
        self._settle()
        self._params[slot] = params
        self._steps[slot] = 0
        draws = min(params.max_new_tokens, self._uniforms.shape[1])
        greedy = params.is_greedy
        # A greedy row keeps one token and always draws the first.
        self._uniforms[slot, :draws] = 0.0 if greedy else np.random.default_rng(params.seed).random(draws)
        self._min_steps[slot] = params.min_new_tokens
        self._top_k[slot] = 1 if greedy else params.top_k
        self._inverse_temperature[slot] = self._open(slot, prompt_ids, params)
        self._top_p[slot] = 1.0 if greedy else max(params.top_p, MIN_TOP_P)
        self._min_p[slot] = 0.0 if greedy else params.min_p
        self._repetition[slot] = params.repetition_penalty
        self._presence[slot] = params.presence_penalty
        self._frequency[slot] = params.frequency_penalty
        self._counted[slot] = params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
        self._penalised[slot] = self._counted[slot] or params.repetition_penalty != 1.0
        if self._penalised[slot]:
            self._seen[slot] = 0
            self._counts[slot] = 0
            self._seen[slot, prompt_ids] = 1
            self._seen_count[slot] = np.count_nonzero(self._seen[slot])
        lowers_only = (
            params.repetition_penalty >= 1.0 and params.presence_penalty >= 0.0 and params.frequency_penalty >= 0.0
        )
        typical = params.typical_p < 1.0 and not greedy
        few = greedy or 0 < params.top_k <= MAX_CANDIDATES // 2
        self._full[slot] = not (few and lowers_only and not typical and not params.logit_bias)
        self._wants_logprobs[slot] = params.logprobs is not None

    def _open(self, slot: int, prompt_ids: list[int], params: SamplingParams) -> float:
        """The inverse of the temperature that a row begins with; notes the one that its first line's end brings."""
        self._openings.pop(slot, None)
        if params.is_greedy:
            return 1.0
        inverse = 1.0 / max(params.temperature, MIN_TEMPERATURE)
        if params.opening_temperature is None or not self._line_end_ids.isdisjoint(prompt_ids):
            return inverse
        self._openings[slot] = inverse
        return 1.0 / max(params.opening_temperature, MIN_TEMPERATURE)

    def _end_openings(self, first: int, tokens: list[int]) -> None:
        """Gives rows ``first``.. that have just ended their first line the temperature of the others."""
        for i, token in enumerate(tokens):
            if token in self._line_end_ids and (inverse := self._openings.pop(first + i, None)) is not None:
                self._inverse_temperature[first + i] = inverse  # which the batch has a view of
                if self._plain is not None:
                    self._plain.inverse_temperature[i] = inverse

    def move(self, source: int, destination: int) -> None:
        """Carries a row's state over to another slot."""
        self._settle()
        inverse = self._openings.pop(source, None)
        self._openings.pop(destination, None)
        if inverse is not None:
            self._openings[destination] = inverse
        self._params[destination] = self._params[source]
        for state in self._states:
            state[destination] = state[source]

    def _settle(self) -> None:
        """Ends the batch: its rows' state is all in the arrays again, and may be changed."""
        if self._batch is not None and self._plain is not None:
            self._steps[self._batch.rows] += self._plain.steps
        self._batch = self._plain = None

    def candidates(self, first: int, count: int) -> int:
        """How many of the best tokens ``sample`` needs to be given for rows ``first``.. ."""
        batch = self._batch_of(first, count)
        if not batch.any_full and self._bound <= MAX_CANDIDATES:
            return min(self._bound, self.vocab_size)
        needed = self._needed(batch)
        needed = np.where(batch.full | (needed > MAX_CANDIDATES), 1, needed)
        return int(needed.max())

    def _needed(self, batch: _Batch) -> NDArray[np.int64]:
        if not batch.any_penalised:
            return batch.least_needed
        needed = batch.least_needed + self._seen_count[batch.rows] * self._penalised[batch.rows]
        bounded: NDArray[np.int64] = np.minimum(needed, self.vocab_size)
        return bounded

    def _batch_of(self, first: int, count: int) -> _Batch:
        """What stays the same as long as the same sequences are in the same rows."""
        batch = self._batch
        if batch is None or (batch.first, batch.count) != (first, count):
            self._settle()
            rows = slice(first, first + count)
            top_k = self._top_k[rows]
            batch = self._batch = _Batch(
                first=first,
                count=count,
                rows=rows,
                at=np.arange(first, first + count),
                local=np.arange(count),
                full=self._full[rows].copy(),
                top_k=top_k.copy(),
                widest=int(top_k[~self._full[rows]].max(initial=1)) + TIES,
                least_needed=np.minimum(top_k + TIES + 1, self.vocab_size),
                any_full=bool(self._full[rows].any()),
                any_penalised=bool(self._penalised[rows].any()),
                any_counted=bool(self._counted[rows].any()),
                any_min_p=bool(self._min_p[rows].any()),
                any_logprobs=bool(self._wants_logprobs[rows].any()),
                any_min_steps=bool((self._steps[rows] < self._min_steps[rows]).any()),
                common_top_k=int(top_k[0]) if (top_k == top_k[0]).all() else 0,
                steps=self._steps[rows],
                min_steps=self._min_steps[rows],
                inverse_temperature=self._inverse_temperature[rows],
                top_p=self._top_p[rows],
                min_p=self._min_p[rows],
            )
            self._bound = int(self._needed(batch).max())
            self._plain = self._plain_of(batch)
        return batch

    def _plain_of(self, batch: _Batch) -> PlainRows | None:
        """For a few rows whose tokens depend on temperature, one top_k, top_p and nothing else."""
        unusual = batch.any_full or batch.any_penalised or batch.any_logprobs or batch.any_min_p or batch.any_min_steps
        if batch.count > FEW_ROWS or unusual or not 0 < batch.common_top_k < self.vocab_size:
            return None
        uniforms = zip(self._uniforms[batch.rows].tolist(), batch.steps.tolist(), strict=True)
        return PlainRows(
            top_k=batch.common_top_k,
            inverse_temperature=batch.inverse_temperature[:, 0].tolist(),
            top_p=batch.top_p[:, 0].tolist(),
            uniforms=[row[steps:] for row, steps in uniforms],
        )

    def sample(
        self,
        first: int,
        logits: NDArray[np.float32],
        top_logits: NDArray[np.float32],
        top_ids: NDArray[np.int64],
    ) -> tuple[list[int], list[TokenLogprob | None] | None]:
        """The next token of rows ``first``.. , and their log probabilities where any row asked for them.

        ``logits`` [rows, vocab_size]; ``top_logits``, ``top_ids`` [rows, candidates], best first. The rows' histories
        are updated with what was drawn. Raises NonFiniteLogitsError.
        """
        batch = self._batch_of(first, len(logits))
        if self._plain is not None and self._plain.top_k < top_ids.shape[1]:
            drawn = self._plain.draw(top_logits, top_ids)
            if drawn is not None:
                if self._openings:
                    self._end_openings(first, drawn)
                return drawn, None
            self._settle()
            batch = self._batch_of(first, len(logits))
        with np.errstate(invalid="ignore"):  # what is not finite comes out in the sums that tokens are drawn from
            tokens, logprobs = self._sample(batch, logits, top_logits, top_ids)
        if self._plain is not None:  # which has not drawn this step, and would draw it again
            self._batch = self._plain = None
        drawn = tokens.tolist()
        if self._openings:
            self._end_openings(first, drawn)
        return drawn, logprobs

    def _sample(
        self,
        batch: _Batch,
        logits: NDArray[np.float32],
        top_logits: NDArray[np.float32],
        top_ids: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], list[TokenLogprob | None] | None]:
        first = batch.first
        full, any_full = batch.full, batch.any_full
        if any_full or min(self._bound, self.vocab_size) > top_ids.shape[1]:
            full, any_full = full | (self._needed(batch) > top_ids.shape[1]), True
        if batch.any_full and full.all():
            tokens = np.zeros(batch.count, np.int64)
        else:
            tokens, tied = self._sample_candidates(batch, top_logits, top_ids)
            if tied is not None and tied.any():
                full, any_full = full | tied, True
        if any_full:
            for i in np.flatnonzero(full):
                tokens[i] = self._sample_full(first + int(i), logits[i])
        logprobs = None
        if batch.any_logprobs:
            logprobs = [self._logprob(first + i, logits[i], int(tokens[i])) for i in range(batch.count)]
        if batch.any_penalised:
            self._bound += 1  # each row may have seen one token more
            where = (first, int(tokens[0])) if batch.count == 1 else (batch.at, tokens)
            self._seen_count[batch.rows] += self._seen[where] == 0
            self._seen[where] = 1
            if batch.any_counted:
                self._counts[where] += 1
        np.add(batch.steps, 1, out=batch.steps)
        return tokens, logprobs

    def _sample_candidates(
        self, batch: _Batch, top_logits: NDArray[np.float32], top_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """The rows' tokens, and [rows] where tokens beyond the candidates may equal the k-th best; None for nowhere."""
        scores, ids, beyond = top_logits, top_ids, None
        width = min(batch.widest, scores.shape[1])
        barred = self._barred(batch, ids) if batch.any_min_steps else None
        if batch.any_penalised:
            scores = self._penalise(batch, scores, ids)
            if barred is not None:
                scores, barred = np.where(barred, EMPTY, scores), None
            scores, ids = _best(scores, ids, width)
            if top_logits.shape[1] < self.vocab_size:
                beyond = top_logits[:, -1]
        scores, ids = scores[:, :width], ids[:, :width]
        if barred is None and _is_plain(batch, scores, beyond):
            scores, ids = scores[:, : batch.common_top_k], ids[:, : batch.common_top_k]
            weights, tied = _weights(batch, scores, scores[:, :1]), None
        else:
            weights, tied = _masked_weights(batch, scores, None if barred is None else barred[:, :width], beyond)
            tied &= width < self.vocab_size
        return self._draw(batch, weights, ids), tied

    def _draw(self, batch: _Batch, weights: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """A token for each row: its uniform number, looked up in the cumulative weights of what its top_p keeps."""
        cumulative = weights.cumsum(axis=1)
        total = cumulative[:, -1:]
        if not math.isfinite(np.add.reduce(total, axis=None)):
            raise NonFiniteLogitsError
        last = np.add.reduce(cumulative < batch.top_p * total, axis=1, dtype=np.int64)
        if batch.any_min_p:
            last = np.minimum(last, np.add.reduce(weights >= batch.min_p, axis=1, dtype=np.int64) - 1)
        target = self._uniforms[batch.at, batch.steps] * cumulative[batch.local, last]
        place = np.minimum(np.add.reduce(cumulative <= target[:, None], axis=1, dtype=np.int64), last)
        drawn: NDArray[np.int64] = ids[batch.local, place]
        return drawn

    def _barred(self, batch: _Batch, ids: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """[rows, candidates]: the end token of rows that may not end yet; None where there is none."""
        barred: NDArray[np.bool_] = ids == self.end_token_id
        if not barred.any():
            return None
        barred &= (batch.steps < batch.min_steps)[:, None]
        return barred if barred.any() else None

    def _penalise(self, batch: _Batch, scores: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = batch.rows
        flat = ids + self._offsets[rows]
        penalty = self._repetition[rows]
        seen = self._seen.reshape(-1).take(flat)
        scores = np.where(seen, np.where(scores > 0, scores / penalty, scores * penalty), scores)
        if batch.any_counted:
            counts = self._counts.reshape(-1).take(flat).astype(np.float32)
            scores = scores - self._frequency[rows] * counts - self._presence[rows] * (counts > 0)
        return scores

    def _sample_full(self, slot: int, logits: NDArray[np.float32]) -> int:
        params = self._params[slot]
        assert params is not None  # noqa: S101 - a sampled row was admitted
        if not math.isfinite(np.add.reduce(logits)):
            raise NonFiniteLogitsError
        scores = logits.copy()
        for token, bias in params.logit_bias.items():
            if token < self.vocab_size:
                scores[token] += bias
        if params.repetition_penalty != 1.0:
            seen = self._seen[slot].view(np.bool_)
            chosen = scores[seen]
            scores[seen] = np.where(chosen > 0, chosen / self._repetition[slot], chosen * self._repetition[slot])
        if self._counted[slot]:
            counts = self._counts[slot].astype(np.float32)
            scores = scores - self._frequency[slot] * counts - self._presence[slot] * (counts > 0)
        if self._steps[slot] < self._min_steps[slot]:
            scores[self.end_token_id] = EMPTY
        if params.is_greedy:
            return int(scores.argmax())
        ids = np.argsort(-scores, kind="stable")
        scores = scores[ids]
        if 0 < params.top_k < len(scores):
            scores = scores[: int(np.count_nonzero(scores >= scores[params.top_k - 1]))]
        weights = np.exp(np.subtract(scores, scores[0], dtype=np.float64) * self._inverse_temperature[slot])
        cumulative = np.cumsum(weights)
        kept = (cumulative - weights < params.top_p * cumulative[-1]) & (weights >= params.min_p) & (weights > 0.0)
        weights = np.where(kept, weights, 0.0)
        if params.typical_p < 1.0:
            weights = _keep_typical(weights, params.typical_p)
        cumulative = np.cumsum(weights)
        target = self._uniforms[slot, self._steps[slot]] * cumulative[-1]
        drawn = min(int(np.searchsorted(cumulative, target, side="right")), int(np.flatnonzero(weights)[-1]))
        return int(ids[drawn])

    def _logprob(self, slot: int, logits: NDArray[np.float32], token: int) -> TokenLogprob | None:
        params = self._params[slot]
        if params is None or params.logprobs is None:
            return None
        wide = logits.astype(np.float64)
        wide -= wide.max()
        wide -= np.log(np.exp(wide).sum())
        best: list[tuple[int, float]] = []
        if params.logprobs:
            few = np.argpartition(-wide, params.logprobs - 1)[: params.logprobs]
            best = [(int(i), float(wide[i])) for i in few[np.lexsort((few, -wide[few]))]]
        return TokenLogprob(token, float(wide[token]), tuple(best))


def _is_plain(batch: _Batch, scores: NDArray[np.float32], beyond: NDArray[np.float32] | None) -> bool:
    """Whether the first top_k columns of ``scores``, best first, are all that any row keeps: one top_k for all rows,
    and no ties at it. ``beyond`` [rows] bounds the scores of tokens that are not among the candidates.
    """
    top_k = batch.common_top_k
    if not 0 < top_k < scores.shape[1]:
        return False
    if batch.count == 1:  # plain numbers, at a third of an array's cost
        worst = scores[0, top_k - 1]
        return bool(scores[0, top_k] < worst and (beyond is None or beyond[0] < worst))
    worst_of = scores[:, top_k - 1]
    return bool((scores[:, top_k] < worst_of).all() and (beyond is None or (beyond < worst_of).all()))


def _weights(batch: _Batch, scores: NDArray[np.float32], best: NDArray[np.float32]) -> NDArray[np.float64]:
    """[rows, columns]: what each token weighs beside the best, which are ``best`` [rows, 1]."""
    weights = np.subtract(scores, best, dtype=np.float64)
    weights *= batch.inverse_temperature
    np.exp(weights, out=weights)
    return weights


def _masked_weights(
    batch: _Batch, scores: NDArray[np.float32], barred: NDArray[np.bool_] | None, beyond: NDArray[np.float32] | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Weights of rows that differ in their top_k, have ties at it, or a token each that is ``barred``; and [rows]
    where what is not given may tie too. ``beyond`` as in ``_is_plain``.
    """
    last = scores.shape[1] - 1
    best, kth = scores[:, :1], np.minimum(batch.top_k - 1, last)
    if barred is not None:  # what is behind the barred token moves up by one
        scores = np.where(barred, EMPTY, scores)
        best = np.maximum(scores[:, :1], scores[:, min(1, last), None])
        kth = np.minimum(kth + (barred & (np.arange(last + 1) <= kth[:, None])).any(axis=1), last)
    worst = scores[batch.local, kth]
    weights = _weights(batch, scores, best)
    weights *= scores >= worst[:, None]
    tied: NDArray[np.bool_] = scores[:, -2:].max(axis=1) >= worst
    if beyond is not None:
        tied |= beyond >= worst
    return weights, tied


def _best(
    scores: NDArray[np.float32], ids: NDArray[np.int64], width: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``width`` best of each row, best first, equal scores by id: one sort of 64-bit keys instead of an argsort.

    A float's bits order like an integer once the negative ones are turned around; the id, counted down, fills the
    lower half.
    """
    bits = (scores + np.float32(0.0)).view(np.int32)  # -0.0 becomes 0.0
    keys = (bits ^ ((bits >> 31) & SIGN_MASK)).astype(np.int64) << 32
    keys |= ID_MASK - ids
    keys.sort(axis=1)
    keys = keys[:, : -width - 1 : -1]
    bits = (keys >> 32).astype(np.int32)
    return (bits ^ ((bits >> 31) & SIGN_MASK)).view(np.float32), ID_MASK - (keys & ID_MASK)


def _keep_typical(weights: NDArray[np.float64], mass: float) -> NDArray[np.float64]:
    """Weights outside the locally typical set of the given mass become 0 (Meister et al. 2022)."""
    probabilities = weights / weights.sum()
    alive = probabilities > 0.0
    surprise = np.full(len(weights), np.inf)
    surprise[alive] = -np.log(probabilities[alive])
    entropy = float((probabilities[alive] * surprise[alive]).sum())
    oddness = np.abs(surprise - entropy)
    order = np.argsort(oddness, kind="stable")
    last = min(int(np.count_nonzero(np.cumsum(probabilities[order]) < mass)), len(order) - 1)
    return np.where(oddness <= oddness[order[last]], weights, 0.0)
