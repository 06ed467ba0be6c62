"""The scheduler under random load, without a model: a simulated engine follows its steps and moves."""

import random
from collections.abc import Sequence as Items

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.engine.errors import QueueFullError
from service.engine.sampling_params import SamplingParams
from service.engine.scheduler import IDLE_CHUNKS, DecodeStep, Move, PrefillStep, Scheduler
from service.engine.sequence import FinishReason, Sequence, SequenceStatus

PARAMS = SamplingParams()
RUNS, STEPS_A_RUN = 20, 5_000


class Simulation:
    """Does what the engine does with a scheduler, but its cache only notes whose tokens each row holds, and how many.

    ``outputs`` says how many tokens a sequence writes; 1 ends it with its prompt.
    """

    def __init__(self, slots: int, max_waiting: int, chunk_tokens: int) -> None:
        self.scheduler = Scheduler(slots, max_waiting=max_waiting, chunk_tokens=chunk_tokens)
        self.cache: list[tuple[int, int] | None] = [None] * slots
        self.accepted: list[Sequence] = []
        self.live: list[Sequence] = []
        self.outputs: dict[int, int] = {}
        self.cached: dict[int, int] = {}
        self.started: list[int] = []
        self.last_was_prefill = False

    def add(self, lengths: Items[int], outputs: int) -> bool:
        """Queues sequences of so many prompt tokens; tells whether they were taken."""
        scheduler = self.scheduler
        first = len(self.accepted)
        added = [Sequence(first + i, [7] * length, PARAMS) for i, length in enumerate(lengths)]
        waiting = list(scheduler.waiting)
        if scheduler.unfinished + len(added) > scheduler.slots + scheduler.max_waiting:
            assert not scheduler.room_for(len(added))
            with pytest.raises(QueueFullError) as refused:
                scheduler.add(added)
            assert refused.value.retry_after_s > 0
            assert list(scheduler.waiting) == waiting
            return False
        assert scheduler.room_for(len(added))
        scheduler.add(added)
        assert list(scheduler.waiting) == waiting + added
        self.accepted += added
        self.live += added
        self.outputs |= dict.fromkeys((sequence.sequence_id for sequence in added), outputs)
        self.cached |= dict.fromkeys((sequence.sequence_id for sequence in added), 0)
        return True

    def step(self, shuffle: random.Random | None = None) -> PrefillStep | DecodeStep | None:
        """Runs a step and ends what has written enough; in any order, where ``shuffle`` is given."""
        scheduler = self.scheduler
        running = list(scheduler.running)
        wants_prefill = scheduler.prefilling is not None or (bool(scheduler.waiting) and scheduler.free_slots > 0)
        step = scheduler.schedule()
        if step is None:
            assert scheduler.unfinished == 0
            self.last_was_prefill = False
            return None
        if isinstance(step, PrefillStep):
            assert wants_prefill
            assert not (self.last_was_prefill and running), "a running stream waits for a second chunk"
            self._prefill(step, len(running))
        else:
            assert self.last_was_prefill or not wants_prefill, "a prompt waits for a second decode step"
            assert step.sequences == tuple(running), "a step decodes all that run"
            for row, sequence in enumerate(step.sequences):
                self._write(row, sequence, 1)
        self.last_was_prefill = isinstance(step, PrefillStep)
        ended = []
        for sequence in step.sequences:
            if sequence.status is SequenceStatus.DECODING:
                self.outputs[sequence.sequence_id] -= 1
                if self.outputs[sequence.sequence_id] <= 0:
                    ended.append(sequence)
        ended.reverse()
        if shuffle:
            shuffle.shuffle(ended)
        for sequence in ended:
            self.finish(sequence, FinishReason.LENGTH)
        return step

    def _prefill(self, step: PrefillStep, running: int) -> None:
        chunk = self.scheduler.chunk_tokens
        fed = max(step.tokens) * len(step.tokens)
        assert len(step.sequences) == len(step.tokens) > 0
        assert min(step.tokens) > 0
        assert fed <= chunk * (1 if running else IDLE_CHUNKS)
        assert max(step.tokens) <= chunk
        if step.sequences[0] is self.scheduler.prefilling:
            assert len(step.sequences) == 1
        else:
            assert step.row == running
        for i, (sequence, tokens) in enumerate(zip(step.sequences, step.tokens, strict=True)):
            assert sequence.slot == step.row + i
            assert sequence.status is SequenceStatus.PREFILLING
            if self.cached[sequence.sequence_id] == 0:
                self.started.append(sequence.sequence_id)
                self.cache[step.row + i] = (sequence.sequence_id, 0)
            self._write(step.row + i, sequence, tokens)
        for move in self.scheduler.prefilled(step):
            self._follow(move)
        for sequence in step.sequences:
            through = self.cached[sequence.sequence_id] == len(sequence.prompt_ids)
            assert (sequence.status is SequenceStatus.DECODING) == through

    def _write(self, row: int, sequence: Sequence, tokens: int) -> None:
        at = self.cached[sequence.sequence_id]
        assert self.cache[row] == (sequence.sequence_id, at), "a row holds the tokens of another sequence"
        self.cached[sequence.sequence_id] = at + tokens
        self.cache[row] = (sequence.sequence_id, at + tokens)

    def _follow(self, move: Move) -> None:
        assert move.source != move.destination
        assert move.sequence.slot == move.destination
        self.cache[move.destination] = self.cache[move.source]

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """Ends a sequence in whatever state."""
        ended_before = sequence.status is SequenceStatus.FINISHED
        reason_before = sequence.finish_reason
        unfinished = self.scheduler.unfinished
        moves = self.scheduler.finish(sequence, reason)
        assert len(moves) <= 1
        for move in moves:
            self._follow(move)
        assert sequence.status is SequenceStatus.FINISHED
        assert sequence.finish_reason is (reason_before if ended_before else reason)
        assert self.scheduler.unfinished == unfinished - (not ended_before)
        if not ended_before:
            self.live.remove(sequence)

    def check(self) -> None:
        """What holds between any two steps."""
        scheduler = self.scheduler
        owners = list(scheduler.running)
        for row, sequence in enumerate(owners):
            assert sequence.slot == row
            assert sequence.status is SequenceStatus.DECODING
            assert self.cache[row] == (sequence.sequence_id, self.cached[sequence.sequence_id])
        if scheduler.prefilling is not None:
            staged = scheduler.prefilling
            assert staged.slot == scheduler.slots - 1 >= len(owners), "the staging slot is a running sequence's"
            assert staged.status is SequenceStatus.PREFILLING
            assert staged.prompt_left > 0
            assert self.cache[staged.slot] == (staged.sequence_id, self.cached[staged.sequence_id])
            owners.append(staged)
        slots = [sequence.slot for sequence in owners]
        assert len(set(slots)) == len(slots), "a slot has two owners"
        assert scheduler.free_slots + len(slots) == scheduler.slots
        assert scheduler.free_slots >= 0
        for sequence in scheduler.waiting:
            assert sequence.slot == -1
            assert sequence.status is SequenceStatus.WAITING
        assert {id(sequence) for sequence in (*owners, *scheduler.waiting)} == {id(sequence) for sequence in self.live}
        assert scheduler.unfinished == len(self.live) <= scheduler.slots + scheduler.max_waiting
        assert all(earlier < later for earlier, later in zip(self.started, self.started[1:], strict=False))
        # Who waits came after everyone who was started.
        assert not scheduler.waiting or not self.started or self.started[-1] < scheduler.waiting[0].sequence_id
        self.started = self.started[-1:]

    def drain(self, shuffle: random.Random | None = None) -> None:
        """Steps until all have ended, which must not take more steps than there are tokens to read and write."""
        chunk = self.scheduler.chunk_tokens
        bound = 2 * sum(self.outputs[s.sequence_id] + len(s.prompt_ids) // chunk + 2 for s in self.live) + 2
        steps = 0
        while self.step(shuffle) is not None:
            self.check()
            steps += 1
            assert steps <= bound
        self.check()
        assert self.scheduler.free_slots == self.scheduler.slots
        assert all(sequence.status is SequenceStatus.FINISHED for sequence in self.accepted)
        assert all(sequence.slot == -1 for sequence in self.accepted)


def random_lengths(rng: random.Random, chunk: int) -> list[int]:
    """Prompt lengths of one request: short ones, such as just fit a chunk, and long ones; sometimes several alike."""
    longest = rng.choice([3, chunk, chunk + 1, 5 * chunk])
    return [rng.randint(1, longest)] * rng.choice([1, 1, 1, 2, 5])


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_hundred_thousand_random_steps(seed: int) -> None:
    rng = random.Random(seed)
    chunk = rng.choice([1, 2, 4, 16])
    simulation = Simulation(rng.choice([1, 2, 3, 8, 13]), rng.choice([0, 1, 5, 30]), chunk)
    longest_output = rng.choice([1, 3, 20])
    load = rng.choice([0.1, 0.4, 0.9])
    refused = aborted = 0
    for _ in range(STEPS_A_RUN):
        if rng.random() < load:
            refused += not simulation.add(random_lengths(rng, chunk), rng.randint(1, longest_output))
            simulation.check()
        if rng.random() < 0.1 and simulation.live:
            simulation.finish(rng.choice(simulation.live), FinishReason.ABORT)
            simulation.check()
            aborted += 1
        if rng.random() < 0.01 and simulation.accepted:
            simulation.finish(rng.choice(simulation.accepted), FinishReason.DEADLINE)
            simulation.check()
        if rng.random() < 0.001:
            while simulation.live:
                simulation.finish(rng.choice(simulation.live), FinishReason.ABORT)
                simulation.check()
        simulation.step(rng)
        simulation.check()
    assert simulation.accepted
    assert aborted
    assert refused or load < 0.9
    simulation.drain(rng)


class SchedulerMachine(RuleBasedStateMachine):
    """The same, found and shrunk by Hypothesis."""

    @initialize(slots=st.integers(1, 4), max_waiting=st.integers(0, 4), chunk=st.integers(1, 3))
    def start(self, slots: int, max_waiting: int, chunk: int) -> None:
        self.simulation = Simulation(slots, max_waiting, chunk)

    @rule(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4), outputs=st.integers(1, 4))
    def add(self, lengths: list[int], outputs: int) -> None:
        self.simulation.add(lengths, outputs)

    @rule()
    def step(self) -> None:
        self.simulation.step()

    @precondition(lambda self: self.simulation.accepted)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        self.simulation.finish(data.draw(st.sampled_from(self.simulation.accepted)), FinishReason.ABORT)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.check()

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.drain()


SchedulerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
test_any_order_of_events = SchedulerMachine.TestCase


def test_short_prompts_are_fed_together_and_long_ones_alone() -> None:
    simulation = Simulation(8, 8, 4)
    simulation.add([3, 4, 2, 9, 1], outputs=3)
    first = simulation.step()
    assert isinstance(first, PrefillStep)
    assert first.tokens == (3, 4, 2)  # 12 of the 16 tokens that an idle engine feeds; the long one may not join
    assert isinstance(simulation.step(), DecodeStep)
    second = simulation.step()
    assert isinstance(second, PrefillStep)
    assert (second.row, second.tokens) == (7, (4,))


def test_with_a_stream_running_one_chunk_is_fed_between_two_decode_steps() -> None:
    simulation = Simulation(4, 8, 4)
    simulation.add([2], outputs=100)
    simulation.step()
    simulation.add([17], outputs=1)
    kinds = [type(simulation.step()) for _ in range(10)]
    assert kinds == [DecodeStep, PrefillStep] * 5
    assert simulation.accepted[1].status is SequenceStatus.FINISHED


def test_a_long_prompt_that_fills_the_last_slot_stays_where_it_is() -> None:
    simulation = Simulation(2, 2, 2)
    simulation.add([1, 5], outputs=9)
    while simulation.accepted[1].status is not SequenceStatus.DECODING:
        simulation.step()
        simulation.check()
    assert simulation.accepted[1].slot == 1
    simulation.drain()


def test_idle_there_is_no_step() -> None:
    assert Scheduler(1, max_waiting=0, chunk_tokens=1).schedule() is None


@pytest.mark.parametrize(
    ("slots", "max_waiting", "chunk_tokens", "named"),
    [(0, 1, 1, "slots"), (1, -1, 1, "max_waiting"), (1, 1, 0, "chunk")],
)
def test_sizes_out_of_range_are_refused(slots: int, max_waiting: int, chunk_tokens: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Scheduler(slots, max_waiting=max_waiting, chunk_tokens=chunk_tokens)
