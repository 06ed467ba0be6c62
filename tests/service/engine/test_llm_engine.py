"""The engine step by step, on tiny random models: its texts are the model's, alone and in any company."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from service.engine.errors import ModelLoadError, NonFiniteLogitsError, PromptTooLongError, QueueFullError
from service.engine.sampling_params import SamplingParams, SamplingParamsError
from service.engine.sequence import FinishReason, Sequence, SequenceStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.engine.llm_engine import Completion, LLMEngine, TokenEvent
    from tests.service.engine.conftest import TinyModel

    MakeEngine = Callable[..., LLMEngine]

GREEDY = SamplingParams(temperature=0.0, max_new_tokens=20)


class Reader:
    """Steps an engine and keeps each sequence's events."""

    def __init__(self, engine: LLMEngine) -> None:
        self.engine = engine
        self.events: dict[int, list[TokenEvent]] = defaultdict(list)

    def ask(self, prompt: list[int], params: SamplingParams, *, stream: bool = False) -> list[Sequence]:
        sequences = self.engine.make_sequences(prompt, params, stream=stream)
        self.engine.add(sequences)
        return sequences

    def step(self) -> None:
        for sequence, event in self.engine.step():
            self.take(sequence, event)
        scheduler = self.engine.scheduler
        assert len(self.engine._texts) == scheduler.unfinished

    def take(self, sequence: Sequence, event: TokenEvent) -> None:
        events = self.events[sequence.sequence_id]
        assert not events or events[-1].finished is None, "something is told after the end"
        events.append(event)

    def run(self) -> None:
        while self.engine.has_work:
            self.step()
        assert self.engine.scheduler.free_slots == self.engine.scheduler.slots
        assert not self.engine._texts

    def completion(self, sequence: Sequence) -> Completion:
        completion = self.events[sequence.sequence_id][-1].finished
        assert completion is not None
        return completion

    def write(self, prompt: list[int], params: SamplingParams, *, stream: bool = False) -> Completion:
        (sequence,) = self.ask(prompt, params, stream=stream)
        self.run()
        return self.completion(sequence)


def prompts(model: TinyModel, *lengths: int, seed: int = 3) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[model.start_id, *rng.integers(2, model.vocab_size, length - 1).tolist()] for length in lengths]


# ---------------------------------------------------------------------------------------- the model's own text


def test_greedy_text_is_that_of_transformers(exact_model: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(exact_model))
    asked = [(prompt, reader.ask(prompt, GREEDY)) for prompt in prompts(exact_model, 1, 9, 3, 30, 8, 17, 2, 50)]
    reader.run()
    for prompt, (sequence,) in asked:
        completion = reader.completion(sequence)
        expected = exact_model.greedy(prompt, 20)
        assert list(completion.token_ids) == expected
        assert completion.text == reader.engine.tokenizer.decode(expected)
        assert completion.finish_reason is (FinishReason.LENGTH if len(expected) == 20 else FinishReason.END)
        assert completion.prompt_tokens == len(prompt)
        assert completion.completion_tokens == len(expected)


def test_a_text_may_fill_the_context(exact_model: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(exact_model, max_slots=2))
    biased = SamplingParams(temperature=0.0, max_new_tokens=10_000, min_new_tokens=10_000)
    context = reader.engine.context_tokens
    short, long = prompts(exact_model, 4, context - 1)
    completion = reader.write(short, biased)
    assert completion.completion_tokens == context - len(short)
    assert completion.finish_reason is FinishReason.LENGTH
    ids = short + list(completion.token_ids)
    logits = exact_model.logits(ids)
    logits[:, exact_model.end_id] = -np.inf
    assert logits[len(short) - 1 : -1].argmax(axis=1).tolist() == list(completion.token_ids)
    completion = reader.write(long, biased)
    assert completion.completion_tokens == 1
    assert completion.finish_reason is FinishReason.LENGTH


def test_a_lowered_context_bounds_a_text(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2, context_tokens=24))
    (prompt,) = prompts(gpt2, 10)
    completion = reader.write(prompt, SamplingParams(temperature=0.0, max_new_tokens=50, min_new_tokens=50))
    assert completion.completion_tokens == 14
    with pytest.raises(PromptTooLongError) as refused:
        reader.ask(prompts(gpt2, 24)[0], GREEDY)
    assert (refused.value.prompt_tokens, refused.value.limit_tokens) == (24, 23)
    assert not reader.engine.has_work


def test_the_end_token_ends_a_text(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2))
    ends = SamplingParams(temperature=0.0, logit_bias={gpt2.end_id: 100.0}, min_new_tokens=3, max_new_tokens=9)
    (prompt,) = prompts(gpt2, 5)
    completion = reader.write(prompt, ends, stream=True)
    assert completion.finish_reason is FinishReason.END
    assert completion.completion_tokens == 3
    assert gpt2.end_id not in completion.token_ids
    at_once = reader.write(prompt, SamplingParams(temperature=0.0, logit_bias={gpt2.end_id: 100.0}), stream=True)
    assert (at_once.text, at_once.token_ids, at_once.finish_reason) == ("", (), FinishReason.END)


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_goes_on_after_its_end_token_where_that_is_asked(
    gpt2: TinyModel, make_engine: MakeEngine, stream: bool
) -> None:
    reader = Reader(make_engine(gpt2))
    params = SamplingParams(temperature=0.0, logit_bias={gpt2.end_id: 100.0}, ignore_eos=True, max_new_tokens=5)
    completion = reader.write(prompts(gpt2, 5)[0], params, stream=stream)
    assert completion.token_ids == (gpt2.end_id,) * 5
    assert (completion.text, completion.finish_reason) == ("", FinishReason.LENGTH)


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_max_new_tokens_is_exact(gpt2: TinyModel, make_engine: MakeEngine, tokens: int) -> None:
    reader = Reader(make_engine(gpt2))
    params = SamplingParams(seed=1, max_new_tokens=tokens, min_new_tokens=tokens)
    for length in (3, 30):
        completion = reader.write(prompts(gpt2, length)[0], params)
        assert completion.completion_tokens == tokens
        assert completion.finish_reason is FinishReason.LENGTH


def test_log_probabilities_are_those_of_transformers(exact_model: TinyModel, make_engine: MakeEngine) -> None:
    import torch

    reader = Reader(make_engine(exact_model))
    params = SamplingParams(temperature=1.5, top_k=30, repetition_penalty=1.2, seed=4, max_new_tokens=15, logprobs=3)
    asked = [(prompt, *reader.ask(prompt, params, stream=True)) for prompt in prompts(exact_model, 5, 20, 2)]
    plain = reader.ask(prompts(exact_model, 4)[0], GREEDY, stream=True)[0]
    reader.run()
    for prompt, sequence in asked:
        completion = reader.completion(sequence)
        ids = prompt + list(completion.token_ids)
        expected = torch.log_softmax(torch.from_numpy(exact_model.logits(ids)), -1).numpy()[len(prompt) - 1 :]
        assert len(completion.logprobs) == completion.completion_tokens > 0
        for logprob, token, row in zip(completion.logprobs, completion.token_ids, expected, strict=False):
            assert logprob.token_id == token
            assert logprob.logprob == pytest.approx(row[token], abs=1e-4)
            assert [i for i, _ in logprob.top] == np.argsort(-row)[:3].tolist()
            assert [value for _, value in logprob.top] == pytest.approx(np.sort(row)[::-1][:3].tolist(), abs=1e-4)
        told = [event.logprob for event in reader.events[sequence.sequence_id] if event.token_id is not None]
        assert told == list(completion.logprobs)
    assert reader.completion(plain).logprobs == ()


# ------------------------------------------------------------------------------------------- alone and together


def random_params(rng: random.Random) -> SamplingParams:
    return SamplingParams(
        temperature=rng.choice([0.0, 0.7, 1.0, 1.5]),
        opening_temperature=rng.choice([None, None, 0.3, 2.0]),
        top_k=rng.choice([0, 5, 40]),
        top_p=rng.choice([0.8, 1.0]),
        min_p=rng.choice([0.0, 0.02]),
        typical_p=rng.choice([0.9, 1.0, 1.0]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.2, 0.9]),
        presence_penalty=rng.choice([0.0, 0.0, 0.5]),
        frequency_penalty=rng.choice([0.0, 0.0, 0.5, -0.2]),
        logit_bias=rng.choice([{}, {}, {17: 3.0}]),
        seed=rng.getrandbits(60),
        max_new_tokens=rng.randint(1, 25),
        min_new_tokens=rng.choice([0, 1]),
        logprobs=rng.choice([None, None, 1]),
    )


@pytest.mark.parametrize("chunk", [4, 16])
def test_a_text_is_the_same_alone_and_among_others_that_come_and_go(
    any_model: TinyModel, make_engine: MakeEngine, chunk: int
) -> None:
    rng = random.Random(f"{any_model.name} {chunk}")
    alone = Reader(make_engine(any_model, max_slots=1, prefill_chunk_tokens=64))
    asked = []
    for _ in range(24):
        (prompt,) = prompts(any_model, rng.choice([1, 3, 5, 14, 33, 60]), seed=rng.getrandbits(30))
        params = random_params(rng)
        asked.append((prompt, params, alone.write(prompt, params)))
    assert len({completion.token_ids for _, _, completion in asked}) > 12
    reader = Reader(make_engine(any_model, max_slots=5, max_waiting=50, prefill_chunk_tokens=chunk))
    left, sequences, disturbing = list(range(len(asked))), {}, []
    sizes = Counter[int]()
    while left or reader.engine.has_work:
        if left and rng.random() < 0.4:
            i = left.pop()
            prompt, params, _ = asked[i]
            (sequences[i],) = reader.ask(prompt, params, stream=rng.random() < 0.5)
        if rng.random() < 0.2:
            disturbing += reader.ask(prompts(any_model, rng.randint(1, 40))[0], random_params(rng))
        if disturbing and rng.random() < 0.2:
            reader.engine.abort(disturbing.pop(rng.randrange(len(disturbing))), FinishReason.ABORT)
        reader.step()
        sizes[len(reader.engine.scheduler.running)] += 1
    assert len(sizes) > 3
    for i, (_, _, expected) in enumerate(asked):
        completion = reader.completion(sequences[i])
        assert completion.token_ids == expected.token_ids
        assert completion.text == expected.text
        assert completion.finish_reason is expected.finish_reason
        assert completion.seed == expected.seed


def test_a_text_goes_on_after_it_moves_to_another_row(exact_model: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(exact_model))
    three = prompts(exact_model, 6, 4, 11)
    steady = SamplingParams(temperature=0.0, max_new_tokens=20, min_new_tokens=20)
    first, _, last = (reader.ask(prompt, steady)[0] for prompt in three)
    while len(last.output_ids) < 6:
        reader.step()
    assert last.slot == 2
    reader.engine.abort(first, FinishReason.ABORT)
    assert last.slot == 0
    reader.run()
    logits = exact_model.logits(three[2] + list(reader.completion(last).token_ids))
    logits[:, exact_model.end_id] = -np.inf
    assert reader.completion(last).token_ids == tuple(logits[10:-1].argmax(axis=1))


def test_the_texts_of_a_request_are_those_of_the_seeds_that_follow(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2))
    (prompt,) = prompts(gpt2, 4)
    sequences = reader.ask(prompt, SamplingParams(seed=40, n=3, max_new_tokens=10))
    reader.run()
    texts = [reader.completion(sequence) for sequence in sequences]
    assert [text.seed for text in texts] == [40, 41, 42]
    for text in texts:
        assert reader.write(prompt, SamplingParams(seed=text.seed, max_new_tokens=10)).token_ids == text.token_ids
    assert len({text.token_ids for text in texts}) == 3


def test_a_missing_seed_is_drawn_and_reported(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2))
    (prompt,) = prompts(gpt2, 4)
    first, second = (reader.write(prompt, SamplingParams(max_new_tokens=12)) for _ in range(2))
    assert first.seed != second.seed
    assert reader.write(prompt, SamplingParams(max_new_tokens=12, seed=first.seed)).token_ids == first.token_ids


# --------------------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("stop", [(), ("zzzz",), ("\n",)])
def test_what_is_streamed_adds_up_to_the_text(gpt2: TinyModel, make_engine: MakeEngine, stop: tuple[str, ...]) -> None:
    reader = Reader(make_engine(gpt2, max_slots=8))
    params = SamplingParams(seed=6, max_new_tokens=30, stop=stop, n=5)
    (prompt,) = prompts(gpt2, 3)
    streamed, whole = reader.ask(prompt, params, stream=True), reader.ask(prompt, params)
    reader.run()
    for one, other in zip(streamed, whole, strict=True):
        *tokens, end = reader.events[one.sequence_id]
        completion = reader.completion(one)
        assert [event.token_id for event in tokens] == list(completion.token_ids)
        assert all(event.finished is None for event in tokens)
        assert end.token_id is None
        assert "".join(event.text for event in (*tokens, end)) == completion.text == reader.completion(other).text
        assert len(reader.events[other.sequence_id]) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_text_before_it(gpt2: TinyModel, make_engine: MakeEngine, *, stream: bool) -> None:
    reader = Reader(make_engine(gpt2))
    (prompt,) = prompts(gpt2, 6)
    params = SamplingParams(seed=1, max_new_tokens=30, min_new_tokens=30, top_k=300)
    whole = reader.write(prompt, params).text
    tried = 0
    for at in range(1, len(whole) - 4, 3):
        stop = whole[at : at + 3]
        if "\ufffd" in stop:
            continue
        tried += 1
        stopping = SamplingParams(seed=1, max_new_tokens=30, min_new_tokens=30, top_k=300, stop=("never", stop))
        completion = reader.write(prompt, stopping, stream=stream)
        assert completion.finish_reason is FinishReason.STOP
        assert completion.text == whole[: whole.index(stop)]
        # The tokens are all that were written, up to the one that completed the stop string.
        assert stop in reader.engine.tokenizer.decode(list(completion.token_ids))
        assert stop not in reader.engine.tokenizer.decode(list(completion.token_ids[:-1]))
    assert tried > 5


def test_times_add_up(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2))
    completion = reader.write(prompts(gpt2, 20)[0], SamplingParams(seed=1, max_new_tokens=5, min_new_tokens=5))
    assert min(completion.queue_s, completion.prefill_s, completion.decode_s) >= 0.0
    assert completion.queue_s + completion.prefill_s + completion.decode_s == pytest.approx(completion.total_s)


# ------------------------------------------------------------------------------------------------------- aborts


@pytest.mark.parametrize("state", ["queued", "first chunk", "running", "ended"])
def test_an_abort_frees_the_slot_in_every_state(gpt2: TinyModel, make_engine: MakeEngine, state: str) -> None:
    reader = Reader(make_engine(gpt2, max_slots=2))
    steady = SamplingParams(temperature=0.0, max_new_tokens=40, min_new_tokens=40)
    (other,) = reader.ask(prompts(gpt2, 5)[0], steady)
    reader.step()
    (prompt,) = prompts(gpt2, 30 if state == "first chunk" else 4)
    (sequence,) = reader.ask(prompt, steady, stream=True)
    reached = {
        "queued": lambda: sequence.status is SequenceStatus.WAITING,
        "first chunk": lambda: 0 < sequence.cached_tokens < 30,
        "running": lambda: len(sequence.output_ids) == 3,
        "ended": lambda: sequence.status is SequenceStatus.FINISHED,
    }[state]
    while not reached():
        reader.step()
    event = reader.engine.abort(sequence, FinishReason.DEADLINE)
    if state == "ended":
        assert event is None
        assert reader.completion(sequence).finish_reason is FinishReason.LENGTH
        return
    assert event is not None
    reader.take(sequence, event)
    assert reader.engine.scheduler.free_slots == 1
    assert reader.engine.abort(sequence, FinishReason.ABORT) is None
    completion = reader.completion(sequence)
    assert completion.finish_reason is FinishReason.DEADLINE
    assert completion.completion_tokens == (3 if state == "running" else 0)
    assert completion.text == reader.engine.tokenizer.decode(list(completion.token_ids))
    assert completion.queue_s + completion.prefill_s + completion.decode_s == pytest.approx(completion.total_s)
    (after,) = reader.ask(prompt, steady)
    reader.run()
    for one, ids in ((other, prompts(gpt2, 5)[0]), (after, prompt)):
        logits = gpt2.logits(ids + list(reader.completion(one).token_ids))
        logits[:, gpt2.end_id] = -np.inf
        assert reader.completion(one).token_ids == tuple(logits[len(ids) - 1 : -1].argmax(axis=1))


def test_a_full_queue_takes_all_or_none(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    reader = Reader(make_engine(gpt2, max_slots=2, max_waiting=3))
    (prompt,) = prompts(gpt2, 3)
    reader.ask(prompt, SamplingParams(n=3, seed=1))
    with pytest.raises(QueueFullError):
        reader.ask(prompt, SamplingParams(n=3, seed=1))
    assert reader.engine.scheduler.unfinished == len(reader.engine._texts) == 3
    reader.ask(prompt, SamplingParams(n=2, seed=1))
    reader.run()


def test_sequences_that_are_never_queued_can_be_forgotten(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    engine = make_engine(gpt2)
    sequences = engine.make_sequences([0, 1], SamplingParams(n=3), stream=True)
    assert len(engine._texts) == 3
    engine.forget(sequences)
    assert not engine._texts


# ----------------------------------------------------------------------------------------------------- refusals


def test_a_request_that_cannot_be_served_is_refused(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    engine = make_engine(gpt2)
    with pytest.raises(ValueError, match="start token"):
        engine.make_sequences([], GREEDY, stream=False)
    with pytest.raises(PromptTooLongError, match="96 tokens"):
        engine.make_sequences([2] * 96, GREEDY, stream=False)
    engine.make_sequences([2], SamplingParams(logit_bias={gpt2.vocab_size - 1: 1.0}), stream=False)
    with pytest.raises(SamplingParamsError) as refused:
        engine.make_sequences([2], SamplingParams(logit_bias={gpt2.vocab_size: 1.0}), stream=False)
    assert refused.value.field == "logit_bias"
    assert len(engine._texts) == 1


def test_a_memory_budget_lowers_the_slots(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    slot_bytes = make_engine(gpt2).runner.cache.shape.slot_bytes
    reader = Reader(make_engine(gpt2, max_slots=64, cache_budget_bytes=2 * slot_bytes + 1))
    assert reader.engine.scheduler.slots == reader.engine.runner.slots == 2
    sequences = [reader.ask(prompt, GREEDY)[0] for prompt in prompts(gpt2, 3, 4, 5, 6)]
    reader.run()
    assert all(reader.completion(sequence).token_ids for sequence in sequences)
    with pytest.raises(ModelLoadError, match="budget"):
        make_engine(gpt2, cache_budget_bytes=slot_bytes - 1)


def test_files_that_are_no_model_are_refused(gpt2: TinyModel, make_engine: MakeEngine, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x08\x07 nothing")
    for changes in ({"model_path": broken}, {"tokenizer_path": broken}, {"model_path": tmp_path / "missing"}):
        config = {"model_path": gpt2.model_path, "tokenizer_path": gpt2.tokenizer_path} | changes
        with pytest.raises(ModelLoadError):
            make_engine_from(config, gpt2)


def make_engine_from(paths: dict[str, Path], model: TinyModel) -> LLMEngine:
    from service.engine.llm_engine import EngineConfig, LLMEngine

    return LLMEngine(EngineConfig(**paths, end_token_id=model.end_id, threads=1))


def test_a_graph_of_another_program_is_refused(gpt2: TinyModel, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "foreign.onnx"
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, float32, ["b", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    with pytest.raises(ModelLoadError, match="no serving graph"):
        make_engine_from({"model_path": path, "tokenizer_path": gpt2.tokenizer_path}, gpt2)


def test_a_model_that_gives_no_number_is_told(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    engine = make_engine(gpt2)
    reader = Reader(engine)
    reader.ask(prompts(gpt2, 3)[0], SamplingParams(seed=1, max_new_tokens=9, min_new_tokens=9))
    reader.step()
    for buffer in engine.runner.cache.buffers.values():
        buffer[:] = np.nan
    with pytest.raises(NonFiniteLogitsError):
        reader.run()


# ----------------------------------------------------------------------------------------------------- observer


class Observer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = defaultdict(list)

    def on_step(self, batch_size: int, prefill_tokens: int, decode_tokens: int, seconds: float) -> None:
        assert seconds >= 0
        self.told["step"].append((batch_size, prefill_tokens, decode_tokens))

    def on_queue(self, seconds: float) -> None:
        self.told["queue"].append(seconds)

    def on_first_token(self, seconds: float) -> None:
        self.told["first"].append(seconds)

    def on_inter_token(self, seconds: float, count: int) -> None:
        assert seconds >= 0
        self.told["inter"].append(count)

    def on_finish(self, completion: Completion) -> None:
        self.told["finish"].append((completion.finish_reason, completion.prompt_tokens, completion.completion_tokens))


def test_an_observer_is_told_all(gpt2: TinyModel, make_engine: MakeEngine) -> None:
    observer = Observer()
    reader = Reader(make_engine(gpt2, observer=observer))
    params = SamplingParams(seed=1, max_new_tokens=6, min_new_tokens=6)
    for prompt in prompts(gpt2, 3, 20, 5):
        reader.ask(prompt, params)
    reader.run()
    (aborted,) = reader.ask(prompts(gpt2, 3)[0], params)
    reader.engine.abort(aborted, FinishReason.ABORT)
    told = observer.told
    assert sum(prefill for _, prefill, _ in told["step"]) == 28
    assert sum(decode for _, _, decode in told["step"]) == 3 * 5
    assert len(told["queue"]) == len(told["first"]) == 3
    assert min(told["queue"]) >= 0
    finished = [(FinishReason.LENGTH, length, 6) for length in (3, 5, 20)]
    assert sorted(told["finish"]) == sorted([*finished, (FinishReason.ABORT, 3, 0)])
    # Between two decode steps: each of a sequence's tokens but the first (prefill's) and the one after it, at least.
    assert 3 * 4 <= sum(told["inter"]) <= 3 * 5
