"""The sampler against ``transformers``' logits processors on the same logits, and its promises on seeds and slots."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from service.engine.errors import NonFiniteLogitsError
from service.engine.sampler import MAX_CANDIDATES, TIES, Sampler
from service.engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

END = 0
MAX_LEN = 64
RESOLUTION = 1e-9
"""Nearer than this to a boundary either side is right."""


def top(logits: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the graph's TopK reports: best first, of equal ones the lower id."""
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(logits, ids, axis=1), ids


def sample(sampler: Sampler, first: int, logits: NDArray[np.float32], *, more: int = 0) -> NDArray[np.int64]:
    """The next token of rows ``first``.. , given as many candidates as are asked for, and ``more``."""
    rows = np.ascontiguousarray(logits, np.float32)
    count = min(sampler.candidates(first, len(rows)) + more, rows.shape[1])
    return np.array(sampler.sample(first, rows, *top(rows, count))[0])


@dataclass(frozen=True)
class Case:
    """One draw: logits, what came before, and how to sample."""

    logits: NDArray[np.float32]
    params: SamplingParams
    prompt: list[int]
    output: list[int] = field(default_factory=list)

    def sampler(self, slots: int = 1, *, full: bool | None = None) -> Sampler:
        """A sampler with this case in every slot, the output written; ``full`` forces the path."""
        sampler = Sampler(slots, len(self.logits), END, MAX_LEN)
        for slot in range(slots):
            sampler.admit(slot, self.prompt, replace(self.params, seed=slot))
        if full is not None:
            sampler._settle()
            sampler._full[:] = full
        for token in self.output:
            write(sampler, token)
        return sampler

    def draw(self, uniforms: list[float], *, full: bool | None = None) -> list[int]:
        """The tokens drawn at these random numbers."""
        sampler = self.sampler(len(uniforms), full=full)
        sampler._uniforms[:, len(self.output)] = uniforms
        return sample(sampler, 0, np.tile(self.logits, (len(uniforms), 1))).tolist()


def write(sampler: Sampler, token: int) -> None:
    """Has every row write a token, whatever its parameters."""
    slots = len(sampler._params)
    logits = np.full((slots, sampler.vocab_size), -1e9, np.float32)
    logits[:, token] = 1e9
    sampler._settle()
    least, sampler._min_steps[:] = sampler._min_steps.copy(), 0
    assert (sample(sampler, 0, logits) == token).all()
    sampler._settle()
    sampler._min_steps[:] = least


@dataclass(frozen=True)
class Reference:
    """What ``transformers`` makes of a case: the tokens that can be drawn, most likely first, and how likely they are.

    ``clear`` tells that no token is so near to a limit that rounding decides about it.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    clear: bool


def reference(case: Case) -> Reference:
    """Processors in 32 bits, as the model gives them; warpers in 64, so that theirs is not the rounding compared."""
    import torch
    from transformers import (
        LogitsProcessorList,
        MinNewTokensLengthLogitsProcessor,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        SequenceBiasLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    params = case.params
    history = torch.tensor([case.prompt + case.output])
    scores: Any = torch.from_numpy(case.logits[None].copy())
    processors = LogitsProcessorList()
    if params.logit_bias:
        processors.append(SequenceBiasLogitsProcessor({(t,): float(b) for t, b in params.logit_bias.items()}))
    if params.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    scores = processors(history, scores)
    if params.presence_penalty or params.frequency_penalty:
        # mu[j] -> mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence (OpenAI's API reference)
        counts = np.bincount(case.output, minlength=len(case.logits)).astype(np.float32)[None]
        penalised = scores.numpy() - np.float32(params.frequency_penalty) * counts
        scores = torch.from_numpy(penalised - np.float32(params.presence_penalty) * (counts > 0))
    if params.min_new_tokens:
        least = MinNewTokensLengthLogitsProcessor(len(case.prompt), params.min_new_tokens, END, device="cpu")
        scores = least(history, scores)
    ordered = scores[0].numpy().copy()
    ids = np.argsort(-ordered, kind="stable")
    if params.temperature == 0.0:
        return Reference(ids[:1], np.ones(1), clear=True)
    scores = scores.double()
    clear = True
    warpers = [TemperatureLogitsWarper(params.temperature)]
    if params.top_k:
        warpers.append(TopKLogitsWarper(params.top_k))
    scores = LogitsProcessorList(warpers)(history, scores)
    if params.top_p < 1.0:
        sums = scores.softmax(-1)[0].numpy()[ids].cumsum()
        clear &= bool(np.abs(sums - params.top_p).min() > RESOLUTION)
        alive = ordered[ids][np.isfinite(scores[0].numpy()[ids])]
        clear &= len(np.unique(alive)) == len(alive)  # which of two equal ones is cut is left open
        scores = TopPLogitsWarper(params.top_p)(history, scores)
    if params.min_p > 0.0:
        ratios = (scores - scores.max()).exp()[0].numpy()
        clear &= bool(np.abs(ratios - params.min_p).min() > RESOLUTION * params.min_p)
        scores = MinPLogitsWarper(params.min_p)(history, scores)
    if params.typical_p < 1.0:
        shares = scores.softmax(-1)[0].numpy()
        shares = shares[shares > 0]
        odd = np.abs(-np.log(shares) + (shares * np.log(shares)).sum())
        order = np.argsort(odd, kind="stable")
        clear &= bool(np.abs(shares[order].cumsum() - params.typical_p).min() > RESOLUTION)
        gaps = np.diff(odd[order])
        clear &= bool(((gaps > RESOLUTION) | (gaps == 0)).all())
        scores = TypicalLogitsWarper(params.typical_p)(history, scores)
    probabilities = scores.softmax(-1)[0].numpy()[ids]
    kept = probabilities > 0.0
    return Reference(ids[kept], probabilities[kept], clear)


def assert_agrees(case: Case, *, full: bool | None = None) -> None:
    """Each token that is likely enough to tell is drawn just where the reference's distribution has it."""
    expected = reference(case)
    if not expected.clear:
        return
    ends = expected.probabilities.cumsum()
    starts = ends - expected.probabilities
    wide = np.flatnonzero(expected.probabilities > 4 * RESOLUTION)
    wide = wide[np.unique(np.linspace(0, len(wide) - 1, 40).round().astype(int))]
    tokens, uniforms = [], []
    for i in wide:
        low, high = starts[i] + RESOLUTION, ends[i] - RESOLUTION
        for uniform in (low, (low + high) / 2, high):
            tokens.append(int(expected.ids[i]))
            uniforms.append(float(uniform))
    # The outermost numbers must give a token that is kept, and a bin's worth of others too.
    edges = [0.0, float(np.nextafter(1.0, 0.0)), *np.linspace(0.0, 1.0, 20, endpoint=False)]
    drawn = case.draw(uniforms + edges, full=full)
    assert drawn[: len(tokens)] == tokens
    assert set(drawn[len(tokens) :]) <= set(expected.ids.tolist())
    assert drawn[len(tokens)] == expected.ids[0] or case.params.typical_p < 1.0


@st.composite
def cases(draw: st.DrawFn, **params: st.SearchStrategy[Any]) -> Case:
    """Logits without ties, of any spread, some tokens written before, and parameters drawn from ``params``."""
    vocab = draw(st.sampled_from([40, 41, 64, 300, 1000, 2000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.3, 1.0, 3.0, 10.0]))
    logits = (rng.standard_normal(vocab) * spread + rng.choice([-5.0, 0.0, 5.0])).astype(np.float32)
    assume(len(np.unique(logits)) == vocab)
    # Prompts and outputs hold likely tokens, or penalties would not show.
    likely = np.argsort(-logits)[: draw(st.sampled_from([5, 20, 40]))]
    prompt = rng.choice(likely, draw(st.integers(1, 12))).tolist()
    output = rng.choice(likely, draw(st.integers(0, 12))).tolist()
    if draw(st.booleans()):
        logits[END] = logits.max() + np.float32(0.5)
    return Case(logits, SamplingParams(**{name: draw(value) for name, value in params.items()}), prompt, output)


TEMPERATURES = st.floats(0.05, 5.0)
TOP_K = st.sampled_from([1, 2, 5, 50, 400, 512, 513, 5000]) | st.integers(1, 2100)
SHARES = st.floats(0.001, 1.0)
REPETITION = st.floats(0.5, 2.0)
ADDED = st.floats(-2.0, 2.0)
BIASES = st.dictionaries(st.integers(0, 39), st.floats(-10.0, 10.0), max_size=8)
LEAST = st.integers(0, 20)

ALONE = {
    "plain": cases(),
    "greedy": cases(temperature=st.just(0.0)),
    "temperature": cases(temperature=TEMPERATURES),
    "top_k": cases(top_k=TOP_K),
    "top_p": cases(top_p=SHARES),
    "min_p": cases(min_p=SHARES),
    "typical_p": cases(typical_p=SHARES),
    "repetition_penalty": cases(repetition_penalty=REPETITION),
    "min_new_tokens": cases(min_new_tokens=LEAST),
    "logit_bias": cases(logit_bias=BIASES),
    "presence_penalty": cases(presence_penalty=ADDED),
    "frequency_penalty": cases(frequency_penalty=ADDED),
    # What the fast path is made for.
    "usual": cases(
        temperature=TEMPERATURES,
        top_k=st.integers(1, 100),
        top_p=SHARES,
        min_p=st.floats(0.0, 0.2),
        repetition_penalty=st.floats(1.0, 2.0),
        presence_penalty=st.floats(0.0, 2.0),
        frequency_penalty=st.floats(0.0, 2.0),
        min_new_tokens=LEAST,
    ),
    "greedy and penalised": cases(
        temperature=st.just(0.0),
        repetition_penalty=REPETITION,
        presence_penalty=ADDED,
        frequency_penalty=ADDED,
        min_new_tokens=LEAST,
        logit_bias=BIASES,
    ),
    "all": cases(
        temperature=TEMPERATURES,
        top_k=st.just(0) | TOP_K,
        top_p=SHARES,
        min_p=st.floats(0.0, 0.2),
        typical_p=SHARES,
        repetition_penalty=REPETITION,
        presence_penalty=ADDED,
        frequency_penalty=ADDED,
        min_new_tokens=LEAST,
        logit_bias=BIASES,
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_the_distribution_is_that_of_transformers(name: str) -> None:
    @settings(max_examples=40)
    @given(ALONE[name])
    def agrees(case: Case) -> None:
        assert_agrees(case)

    agrees()


@settings(max_examples=60)
@given(ALONE["usual"])
def test_both_paths_draw_the_same(case: Case) -> None:
    assert_agrees(case, full=False)
    assert_agrees(case, full=True)


@settings(max_examples=60)
@given(ALONE["usual"], st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=20))
def test_both_paths_draw_the_same_among_ties(case: Case, uniforms: list[float]) -> None:
    # A few distinct values, zero of both signs among them. Without cuts: those fall where rounding decides.
    coarse = np.round(case.logits / 4) * 4
    tied = replace(case, logits=coarse, params=replace(case.params, top_p=1.0, min_p=0.0))
    fast, full = tied.draw(uniforms, full=False), tied.draw(uniforms, full=True)
    nearly = [tied.draw([min(max(u + d, 0.0), 0.999999) for u in uniforms], full=True) for d in (-1e-6, 1e-6)]
    assert all(a in choices for a, *choices in zip(fast, full, *nearly, strict=True))


# ------------------------------------------------------------------------------------------------- ties


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("ties", [1, TIES, TIES + 1, 30, 60])
def test_top_k_keeps_all_that_equal_the_kth(ties: int, *, full: bool) -> None:
    logits = np.full(200, -4.0, np.float32)
    logits[100 : 100 + 2] = 3.0
    logits[10 : 10 + ties + 1] = 1.0
    case = Case(logits, SamplingParams(top_k=3), prompt=[1])
    assert set(reference(case).ids.tolist()) == {100, 101, *range(10, 10 + ties + 1)}
    assert_agrees(case, full=full)


def test_ties_at_top_k_are_kept_whoever_shares_the_batch() -> None:
    logits = np.zeros((2, 300), np.float32)
    params = SamplingParams(top_k=5, seed=1)
    for uniform in np.linspace(0.0, 1.0, 50, endpoint=False):
        drawn = []
        for other in (SamplingParams(top_k=5, seed=2), SamplingParams(top_k=400, seed=2)):
            sampler = Sampler(2, 300, END, MAX_LEN)
            sampler.admit(0, [1], params)
            sampler.admit(1, [1], other)
            sampler._uniforms[:, 0] = uniform
            drawn.append(int(sample(sampler, 0, logits)[0]))
        assert drawn[0] == drawn[1] == int(uniform * 300)


@pytest.mark.parametrize("full", [False, True])
def test_ties_go_by_id_in_greedy_sampling(*, full: bool) -> None:
    logits = np.zeros(100, np.float32)
    logits[[70, 30, 50]] = 2.0
    assert Case(logits, SamplingParams(temperature=0.0), [1]).draw([0.0], full=full) == [30]
    penalised = SamplingParams(temperature=0.0, repetition_penalty=2.0)
    assert Case(logits, penalised, [30]).draw([0.0], full=full) == [50]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_typical_sampling_keeps_all_that_are_equally_typical(share: float) -> None:
    case = Case(np.zeros(50, np.float32), SamplingParams(typical_p=share), [1])
    assert len(reference(case).ids) == 50
    assert len(set(case.draw(np.linspace(0.001, 0.999, 200).tolist()))) == 50


def test_top_p_keeps_as_many_of_equal_tokens_as_transformers() -> None:
    case = Case(np.zeros(50, np.float32), SamplingParams(top_p=0.505), [1])
    kept = set(case.draw(np.linspace(0.001, 0.999, 200).tolist()))
    assert kept == set(range(26))
    assert len(reference(case).ids) == 26


@pytest.mark.parametrize("full", [False, True])
def test_zeros_of_either_sign_are_one_value(*, full: bool) -> None:
    logits = np.full(100, -1.0, np.float32)
    logits[20], logits[40] = -0.0, 0.0
    params = SamplingParams(temperature=0.0, repetition_penalty=1.5)
    assert Case(logits, params, [90]).draw([0.0], full=full) == [20]


# ----------------------------------------------------------------------------------------- independence


LINE_ENDS = frozenset(range(0, 1500, 4))


@st.composite
def batches(draw: st.DrawFn) -> list[SamplingParams]:
    params = st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
        opening_temperature=st.sampled_from([None, None, 0.2, 3.0]),
        top_k=st.sampled_from([0, 1, 3, 50, 500, 700]),
        top_p=st.sampled_from([0.3, 0.9, 1.0]),
        min_p=st.sampled_from([0.0, 0.05]),
        typical_p=st.sampled_from([0.5, 1.0, 1.0]),
        repetition_penalty=st.sampled_from([0.8, 1.0, 1.3]),
        presence_penalty=st.sampled_from([0.0, 0.0, 0.7, -0.7]),
        frequency_penalty=st.sampled_from([0.0, 0.0, 0.4]),
        min_new_tokens=st.sampled_from([0, 4]),
        logit_bias=st.sampled_from([{}, {3: 2.0}, {5: -100.0}]),
        logprobs=st.sampled_from([None, None, 2]),
        seed=st.integers(0, 2**63 - 1),
    )
    return draw(st.lists(params, min_size=1, max_size=8))


def model(history: list[int], vocab: int) -> NDArray[np.float32]:
    """Logits that depend on the last two tokens alone."""
    rng = np.random.default_rng(history[-2:])
    return (3.0 * rng.standard_normal(vocab)).astype(np.float32)


def write_alone(params: SamplingParams, prompt: list[int], vocab: int, tokens: int) -> list[int]:
    sampler = Sampler(1, vocab, END, MAX_LEN, LINE_ENDS)
    sampler.admit(0, prompt, params)
    history = list(prompt)
    for _ in range(tokens):
        history.append(int(sample(sampler, 0, model(history, vocab)[None])[0]))
    return history


@settings(max_examples=60)
@given(batches(), st.randoms(use_true_random=False), st.sampled_from([50, 700, 1500]))
def test_a_row_draws_the_same_alone_in_any_batch_in_any_slot_after_any_move(
    batch: list[SamplingParams], rng: Any, vocab: int
) -> None:
    tokens, slots = 8, len(batch) + 2
    prompts = [[rng.randrange(vocab) for _ in range(rng.randint(1, 9))] for _ in batch]
    alone = [write_alone(params, prompt, vocab, tokens) for params, prompt in zip(batch, prompts, strict=True)]
    sampler = Sampler(slots, vocab, END, MAX_LEN, LINE_ENDS)
    for slot in range(slots):  # whoever was there before leaves no trace
        sampler.admit(
            slot,
            [5, 6],
            SamplingParams(seed=3, opening_temperature=9.0, repetition_penalty=1.9, frequency_penalty=1.0, min_p=0.9),
        )
    sample(sampler, 0, np.zeros((slots, vocab), np.float32))
    waiting = list(range(len(batch)))
    rng.shuffle(waiting)
    rows: list[int] = []
    histories = [list(prompt) for prompt in prompts]
    while waiting or rows:
        while waiting and (not rows or rng.random() < 0.6):
            i = waiting.pop()
            staged = rng.choice([len(rows), slots - 1])
            sampler.admit(staged, prompts[i], batch[i])
            if staged != len(rows):
                sampler.move(staged, len(rows))
            rows.append(i)
        first = rng.randrange(len(rows))  # a run of rows, as in prefill
        logits = np.stack([model(histories[i], vocab) for i in rows[first:]])
        for i, token in zip(rows[first:], sample(sampler, first, logits, more=rng.choice([0, 31, 200])), strict=True):
            histories[i].append(int(token))
        for row in reversed(range(len(rows))):
            if len(histories[rows[row]]) == len(alone[rows[row]]):
                last = rows.pop()
                if row < len(rows):
                    sampler.move(len(rows), row)
                    rows[row] = last
    assert histories == alone


def test_a_row_that_moves_in_takes_its_parameters_along() -> None:
    sampler = Sampler(2, 50, END, MAX_LEN)
    sampler.admit(0, [1], SamplingParams(temperature=0.0, seed=1))
    sampler.admit(1, [1], SamplingParams(temperature=0.0, seed=1, logit_bias={7: 100.0}))
    logits = np.linspace(0, 1, 50, dtype=np.float32)[None]
    assert sample(sampler, 0, logits) == 49
    sampler.move(1, 0)
    assert sample(sampler, 0, logits) == 7
    sampler.admit(0, [1], SamplingParams(temperature=0.0, seed=1))
    assert sample(sampler, 0, logits) == 49


@pytest.mark.parametrize("rows", [1, 3, 20])  # few are drawn in plain Python
@pytest.mark.parametrize("rest", [SamplingParams(top_k=40, top_p=0.9), SamplingParams(typical_p=0.9)])
def test_the_first_line_has_a_temperature_of_its_own(rest: SamplingParams, rows: int) -> None:
    vocab, steps, line_end = 60, 30, 4
    rest, opening = replace(rest, temperature=0.4), replace(rest, temperature=2.5)
    samplers = {
        name: Sampler(rows, vocab, END, MAX_LEN, frozenset([line_end])) for name in ("both", "opening", "rest", "later")
    }
    for slot in range(rows):
        both = replace(rest, opening_temperature=2.5, seed=slot)
        samplers["both"].admit(slot, [1, 2], both)
        samplers["opening"].admit(slot, [1, 2], replace(opening, seed=slot))
        samplers["rest"].admit(slot, [1, 2], replace(rest, seed=slot))
        samplers["later"].admit(slot, [1, line_end, 2], both)  # the prompt's first line has ended
    ended, differ = np.zeros(rows, np.bool_), 0
    for step in range(steps):
        logits = np.random.default_rng(step).standard_normal((rows, vocab)).astype(np.float32) * 3
        drawn = {name: sample(sampler, 0, logits) for name, sampler in samplers.items()}
        assert drawn["both"].tolist() == np.where(ended, drawn["rest"], drawn["opening"]).tolist()
        assert drawn["later"].tolist() == drawn["rest"].tolist()
        differ += int((drawn["opening"] != drawn["rest"]).sum())
        ended |= drawn["both"] == line_end
    assert differ > 0


def test_greedy_rows_have_no_warmer_first_line() -> None:
    greedy = SamplingParams(temperature=0.0, seed=7)
    assert write_alone(replace(greedy, opening_temperature=9.0), [1, 2], 500, 30) == write_alone(
        greedy, [1, 2], 500, 30
    )


def test_a_seed_reproduces_and_another_differs() -> None:
    texts = [write_alone(SamplingParams(seed=seed), [1, 2], 500, 30) for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_sampling_does_not_depend_on_the_seed() -> None:
    texts = [write_alone(SamplingParams(temperature=0.0, seed=seed), [1, 2], 500, 30) for seed in (7, 8)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_k=20, temperature=1.3),
        SamplingParams(top_k=50, top_p=0.8, repetition_penalty=1.4),
        SamplingParams(top_k=40, min_p=0.1, presence_penalty=0.5),
    ],
)
def test_twenty_thousand_draws_follow_the_distribution(params: SamplingParams, *, full: bool) -> None:
    rows, draws = 400, 20_000
    logits = np.random.default_rng(4).standard_normal(60).astype(np.float32) * 1.5
    case = Case(logits, params, prompt=[1, 2, 3])
    expected = reference(case)
    seen = np.zeros(60, np.int64)
    for batch in range(draws // rows):
        sampler = Sampler(rows, 60, END, 4)
        for slot in range(rows):
            sampler.admit(slot, case.prompt, replace(params, seed=batch * rows + slot))
        if full:
            sampler._settle()
            sampler._full[:] = True
        seen += np.bincount(sample(sampler, 0, np.tile(logits, (rows, 1))), minlength=60)
    assert seen.sum() == draws
    assert set(np.flatnonzero(seen)) <= set(expected.ids.tolist())
    wanted = expected.probabilities * draws
    common = wanted >= 5
    statistic = float(((seen[expected.ids] - wanted)[common] ** 2 / wanted[common]).sum())
    freedom = int(common.sum()) - 1
    assert freedom > 3
    # Wilson and Hilferty's approximation of the chi-squared distribution, at 4.5 standard deviations.
    limit = freedom * (1 - 2 / (9 * freedom) + 4.5 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < limit


# ------------------------------------------------------------------------------------------------ limits

EXTREMES = {
    "temperature": [1e-300, 5e-324, 1e-40, 1e-3, 100.0],
    "top_k": [2**31 - 1, 1],
    "top_p": [5e-324, 1e-300, 1e-46, 1.0 - 1e-16],
    "min_p": [5e-324, 1e-46, 1.0],
    "typical_p": [5e-324, 1e-46, 1.0 - 1e-16],
    "repetition_penalty": [0.01, 100.0],
    "presence_penalty": [-100.0, 100.0, 5e-324],
    "frequency_penalty": [-100.0, 100.0],
    "logit_bias": [dict.fromkeys(range(40), -100.0), dict.fromkeys(range(40), 100.0)],
}


@pytest.mark.parametrize("top_k", [0, 7])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in EXTREMES.items() for value in values])
def test_no_accepted_value_breaks_a_draw(name: str, value: Any, top_k: int) -> None:
    params = SamplingParams(**{"top_k": top_k, name: value})
    logits = (10 * np.random.default_rng(1).standard_normal(40)).astype(np.float32)
    case = Case(logits, params, prompt=[1, 2], output=[3, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = case.draw([0.0, 0.3, 0.999])
    best = int(reference(case).ids[0]) if name != "temperature" else int(logits.argmax())
    if name == "top_p" and value < 0.5:
        assert drawn == [best] * 3
    if name == "temperature" and value < 1e-3:
        assert drawn == [best] * 3


@given(st.floats(0.0, 100.0), st.floats(1e-6, 1.0), st.floats(0.01, 100.0), st.integers(0, 50))
@example(5e-324, 1.0, 100.0, 5)
def test_any_accepted_combination_draws_one_of_the_tokens(
    temperature: float, share: float, repetition: float, top_k: int
) -> None:
    logits = np.array([[-50.0, 30.0, 0.0, -0.0, 1e-30, 29.99]], np.float32)
    params = SamplingParams(
        temperature=temperature, top_p=share, min_p=share, repetition_penalty=repetition, top_k=top_k, seed=1
    )
    sampler = Sampler(1, 6, END, MAX_LEN)
    sampler.admit(0, [1, 2, 3], params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= sample(sampler, 0, logits)[0] < 6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "params", [SamplingParams(top_k=5, seed=1), SamplingParams(seed=1), SamplingParams(temperature=0.0, seed=1)]
)
def test_logits_that_are_not_finite_are_told(bad: float, params: SamplingParams) -> None:
    sampler = Sampler(2, 50, END, MAX_LEN)
    for slot in range(2):
        sampler.admit(slot, [1], params)
    logits = np.zeros((2, 50), np.float32)
    logits[1] = bad
    with pytest.raises(NonFiniteLogitsError):
        sample(sampler, 0, logits)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=1),
        SamplingParams(temperature=0.0, logit_bias={1: 1.0}, seed=1),
        SamplingParams(typical_p=0.5, seed=1),
        SamplingParams(top_k=5, seed=1),
    ],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_single_logit_that_is_not_finite_is_told(params: SamplingParams, bad: float) -> None:
    sampler = Sampler(1, 50, END, MAX_LEN)
    sampler.admit(0, [1], params)
    logits = np.linspace(-1, 1, 50, dtype=np.float32)[None]
    logits[0, 20] = bad
    # TopK of ONNX Runtime has no promise for NaN: wherever among the candidates it comes out.
    ids = np.argsort(-np.nan_to_num(logits, nan=0.9), axis=1, kind="stable")[:, : sampler.candidates(0, 1)]
    if bad == np.inf or not sampler._full[0]:
        assert 20 in ids
    with pytest.raises(NonFiniteLogitsError):
        sampler.sample(0, logits, np.take_along_axis(logits, ids, axis=1), ids)


def test_a_row_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="seed"):
        Sampler(1, 50, END, MAX_LEN).admit(0, [1], SamplingParams())


def test_no_row_asks_for_more_candidates_than_there_are_tokens_or_than_the_limit() -> None:
    for vocab in (50, 5000):
        sampler = Sampler(1, vocab, END, MAX_LEN)
        for top_k in (0, 1, 50, 512, 513, 10**6):
            sampler.admit(0, list(range(40)), SamplingParams(top_k=top_k, seed=1, repetition_penalty=1.1))
            assert 1 <= sampler.candidates(0, 1) <= min(vocab, MAX_CANDIDATES)


# ------------------------------------------------------------------------------------------ log probabilities


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_log_probabilities_are_the_models_own(count: int) -> None:
    import torch

    logits = (4 * np.random.default_rng(2).standard_normal((2, 90))).astype(np.float32)
    sampler = Sampler(2, 90, END, MAX_LEN)
    sampler.admit(0, [1], SamplingParams(seed=1, temperature=3.0, top_k=4, repetition_penalty=1.5, logprobs=count))
    sampler.admit(1, [1], SamplingParams(seed=1))
    tokens, reported = sampler.sample(0, logits, *top(logits, sampler.candidates(0, 2)))
    assert reported is not None
    mine, none = reported
    assert none is None
    assert mine is not None
    expected = torch.log_softmax(torch.from_numpy(logits[0]).double(), -1).numpy()
    assert mine.token_id == tokens[0]
    assert mine.logprob == pytest.approx(expected[tokens[0]], abs=1e-6)
    assert [token for token, _ in mine.top] == np.argsort(-expected)[:count].tolist()
    assert [value for _, value in mine.top] == pytest.approx(np.sort(expected)[::-1][:count].tolist(), abs=1e-6)


def test_without_anybody_asking_there_are_no_log_probabilities() -> None:
    sampler = Sampler(1, 90, END, MAX_LEN)
    sampler.admit(0, [1], SamplingParams(seed=1))
    logits = np.zeros((1, 90), np.float32)
    assert sampler.sample(0, logits, *top(logits, 1))[1] is None
