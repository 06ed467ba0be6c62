"""Any sequence of decisions and undos leaves what a model in plain Python says."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from data_pipeline.curation.database import FILE_NAME, Database
from data_pipeline.curation.decisions import Action, Decision, decide, undo
from data_pipeline.curation.errors import BadRequestError, ConflictError, NothingToUndoError
from data_pipeline.curation.rows import history_json, row_json
from greentext.genres import classify
from tests.data_pipeline.curation.desk import bring_in, desk, row_of, text_of, write_rows

PEOPLE = ("Ann", "Bob")
ROWS = (1, 2)
TEXTS = (">a", ">b\n>thanks", "no marker")
LEADS_TO = {"accept": "accepted", "reject": "rejected", "skip": "skipped", "reopen": "todo"}


@dataclass(frozen=True)
class State:
    text: str
    queue: str = "todo"
    genre: str = "general"
    reason: str = ""
    given: bool = False


@dataclass(eq=False)
class Change:
    person: str
    before: State
    undone: bool = False
    is_undo: bool = False


@dataclass
class Model:
    states: dict[int, State] = field(default_factory=lambda: {row: State(text_of(row)) for row in ROWS})
    changes: dict[int, list[Change]] = field(default_factory=lambda: {row: [] for row in ROWS})
    """Of each row: its versions from 1."""
    steps: dict[str, list[tuple[int, Change]]] = field(default_factory=lambda: {person: [] for person in PEOPLE})

    def decide(self, person: str, row: int, action: str, text: str, genre: str | None, behind: int) -> str:
        state = self.states[row]
        queue = LEADS_TO.get(action, state.queue)
        if action == "accept" and not text.startswith(">"):
            return "refused"
        if behind and self.changes[row]:
            return "conflict"
        if queue == "accepted" and not text.startswith(">"):
            return "refused"
        given = state.given if genre is None else bool(genre)
        shown = (state.genre if genre is None else genre) if given else str(classify(text))
        reason = "dull" if action == "reject" else state.reason if action == "save" else ""
        change = Change(person, state)
        self.changes[row].append(change)
        self.steps[person].append((row, change))
        self.states[row] = State(text, queue, shown, reason, given)
        return "done"

    def undo(self, person: str, *, skip: bool) -> str:
        steps = self.steps[person]
        if steps and skip and self._blocked(*steps[-1]):
            steps.pop()
        if not steps:
            return "nothing"
        row, change = steps[-1]
        if self._blocked(row, change):
            return "conflict"
        steps.pop()
        change.undone = True
        self.changes[row].append(Change(person, self.states[row], is_undo=True))
        before = change.before
        self.states[row] = before if before.given else replace(before, genre=str(classify(before.text)))
        return "done"

    def _blocked(self, row: int, change: Change) -> bool:
        later = itertools.islice(self.changes[row], self.changes[row].index(change) + 1, None)
        return any(not other.undone and not other.is_undo for other in later)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("decide"), st.sampled_from(PEOPLE), st.sampled_from(ROWS), st.sampled_from(list(Action)),
            st.sampled_from(TEXTS), st.sampled_from((None, "", "thanks")), st.integers(0, 1),
        ),
        st.tuples(st.just("undo"), st.sampled_from(PEOPLE), st.booleans()),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_decisions_and_undos_do_what_a_simple_model_does(steps: list[tuple[str, ...]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bring_in(folder / "c", write_rows(folder / "in.jsonl", [row_of(row) for row in ROWS]))
        with contextlib.closing(Database(folder / "c" / FILE_NAME)) as database:
            with database.writing() as connection:  # a commit waits for no disk here
                pass
            connection.execute("PRAGMA synchronous = OFF")
            for number, step in enumerate(steps):
                if step[0] == "decide":
                    expected = model.decide(*step[1:])  # type: ignore[arg-type]
                    assert _decide(database, number, *step[1:]) == expected  # type: ignore[arg-type]
                else:
                    expected = model.undo(step[1], skip=bool(step[2]))
                    assert _undo(database, number, step[1], skip=bool(step[2])) == expected
                _compare(database, model)


def _decide(
    database: Database, number: int, person: str, row: int, action: Action, text: str, genre: str | None, behind: int
) -> str:
    with database.reading() as connection:
        version = row_json(connection, row, person)["version"]
    decision = Decision(action, text, max(version - behind, 0), "t", str(number), genre, "dull")
    if action is not Action.REJECT:
        decision = replace(decision, reason="")
    try:
        answer = decide(database, row, person, decision)
    except BadRequestError:
        return "refused"
    except ConflictError as error:
        return "conflict" if error.extra["yours"]["text"] == text else "a text was lost"
    assert decide(database, row, person, decision) == answer
    return "done"


def _undo(database: Database, number: int, person: str, *, skip: bool) -> str:
    try:
        answer = undo(database, person, str(number), skip=skip)
    except NothingToUndoError:
        return "nothing"
    except ConflictError:
        return "conflict"
    assert undo(database, person, str(number)) == answer
    return "done"


def _compare(database: Database, model: Model) -> None:
    with database.reading() as connection:
        for row, state in model.states.items():
            found = row_json(connection, row, "Ann")
            assert (found["text"], found["queue"], found["genre"], found["reason"]) == (
                state.text, state.queue, state.genre, state.reason,
            )  # fmt: skip
            versions = history_json(connection, row, "Ann")["versions"]
            assert [version["version"] for version in versions] == list(range(len(model.changes[row]), -1, -1))
            assert found["version"] == len(model.changes[row])
            assert found["problems"] == (0 if state.text.startswith(">") else 1)
        for person, open_steps in model.steps.items():
            assert row_json(connection, 1, person)["undo_depth"] == len(open_steps)


def test_unsure_words_go_with_their_lines_and_leave_with_them(tmp_path: Path) -> None:
    lines = [">be me", ">find dog", ">dog is wet", ">we go home"]
    words = [{"line": 2, "word": "dog", "confidence": 0.4}, {"line": 3, "word": "wet", "confidence": 0.7}]
    row = row_of(1, text="\n".join(lines), line_confidences=[0.9] * 4, unsure_words=words)
    bring_in(tmp_path / "c", write_rows(tmp_path / "rows", [row]))
    with desk(tmp_path / "c") as here:
        ann = here.person()
        assert ann.row("1")["words"] == words
        saved = ann.decided(ann.row("1"), "save", "\n".join([">be 8", lines[0], ">find cat", *lines[2:]]))
        assert saved["words"] == [{"line": 4, "word": "wet", "confidence": 0.7}]
        ann.undo()
        assert ann.row("1")["words"] == words
