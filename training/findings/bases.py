"""The models that tuning begins with, and the tokenizer that all of them share.

One tokenizer for all, so that only what is compared differs. ``large`` and ``small`` have read stories, ``code`` is as
large as ``large`` and has read stories and sessions of a Python prompt.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog
from tokenizers import Tokenizer

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.corpus import read_greentexts, read_stories, take_split
from training.findings.code_sessions import code_session, without_prompts
from training.packing import pack
from training.pretrain import STORY_VALIDATION_SHARE, new_model
from training.steps import once, sha256_of_file
from training.tokenizer import END_TOKEN_ID, encode_plain, save_tokenizer, train_tokenizer, wrap_tokenizer
from training.trainer import remove_training_state, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from training.findings.scales import Scale
    from training.packing import PackedRows

log = structlog.get_logger(__name__)

BaseName = Literal["large", "small", "code"]
SUMMARY = "summary.json"
CODE_SHARE = 0.15
"""Of the tokens that the ``code`` base reads."""
CODE_SEED = 5
TOKENIZER_SESSIONS = 1000
TOKENIZER_STORIES = 4000
"""Enough for a vocabulary of this size, and read in seconds."""
GREENTEXTS_WEIGHT = 10
"""How often the tokenizer sees each greentext: they are few."""
VALIDATION_STORIES = 60
"""Held-out stories that tell how pretraining goes."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that a study is made from."""

    stories: Path
    greentexts: Path

    def sha256(self) -> dict[str, str]:
        """What the files hold. Raises StepError when one is missing."""
        return {"stories": sha256_of_file(self.stories), "greentexts": sha256_of_file(self.greentexts)}


def shared_tokenizer(sources: Sources, scale: Scale, work: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of all bases, learned from stories, code and the greentexts' training split."""
    directory = work / "tokenizer"

    def make() -> None:
        stories = read_stories(sources.stories)[:TOKENIZER_STORIES]
        training = take_split(stories, "train", validation=STORY_VALIDATION_SHARE, test=0.0)
        greentexts = take_split(read_greentexts(sources.greentexts), "train")
        texts = [document.text for document in [*training, *(greentexts * GREENTEXTS_WEIGHT)]]
        texts += [without_prompts(code_session(CODE_SEED, number)) for number in range(TOKENIZER_SESSIONS)]
        save_tokenizer(train_tokenizer(texts, scale.large.vocab_size), directory)

    once(directory, {"vocab_size": scale.large.vocab_size, **sources.sha256()}, make)
    return wrap_tokenizer(Tokenizer.from_file(str(directory / "tokenizer.json")))


def base_directory(work: Path, name: BaseName, number: int) -> Path:
    """Where a base is kept."""
    return work / "bases" / f"{name}-{number}"


def load_base(work: Path, name: BaseName, number: int) -> Checkpoint:
    """A base that ``make_base`` has made."""
    return load_checkpoint(base_directory(work, name, number) / "checkpoint")


def read_summary(directory: Path) -> dict[str, Any]:
    """Steps, held-out loss (nats a token) and seconds of a base's pretraining."""
    summary: dict[str, Any] = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    return summary


def make_base(sources: Sources, scale: Scale, work: Path, name: BaseName, number: int) -> Path:
    """Pretrains a base unless that is done; goes on where it stopped. Returns its directory."""
    directory = base_directory(work, name, number)
    shape = scale.small if name == "small" else scale.large
    code_share = CODE_SHARE if name == "code" else 0.0
    made_from = {
        "model": asdict(shape),
        "plan": asdict(scale.pretraining),
        "number": number,
        "code_share": code_share,
        "stories_read": scale.stories,
        **sources.sha256(),
    }
    tokenizer = shared_tokenizer(sources, scale, work)

    def make() -> None:
        stories = read_stories(sources.stories)
        training = take_split(stories, "train", validation=STORY_VALIDATION_SHARE, test=0.0)
        validation = take_split(stories, "validation", validation=STORY_VALIDATION_SHARE, test=0.0)
        texts = [story.text for story in training][: scale.stories or None]
        held_out = [story.text for story in validation][:VALIDATION_STORIES]
        model = new_model(shape, len(tokenizer), seed=number)
        summary = train(
            model,
            _with_code(tokenizer, texts, shape.context_length, code_share, first=0),
            _with_code(tokenizer, held_out, shape.context_length, code_share, first=10**6),
            scale.pretraining,
            directory,
        )
        save_checkpoint(model, tokenizer, directory / "checkpoint")
        figures = {
            "steps": summary.steps,
            "validation_loss": round(summary.validation_loss, 4),
            "seconds": round(summary.seconds),
        }
        (directory / SUMMARY).write_text(json.dumps(figures) + "\n", encoding="utf-8")
        remove_training_state(directory)
        log.info("pretrained", base=directory.name, validation_loss=round(summary.validation_loss, 4))

    once(directory, made_from, make)
    return directory


def _with_code(
    tokenizer: PreTrainedTokenizerFast, stories: Sequence[str], row_tokens: int, share: float, *, first: int
) -> PackedRows:
    """Stories, and sessions from number ``first`` on until they are ``share`` of all tokens, in packed rows."""
    documents = _between_ends(tokenizer, stories)
    wanted = sum(map(len, documents)) * share / (1 - share)
    number = first
    while wanted > 0:
        sessions = _between_ends(tokenizer, [code_session(CODE_SEED, number + i) for i in range(100)])
        for session in sessions:
            if wanted > 0:
                documents.append(session)
                wanted -= len(session)
        number += 100
    return pack(documents, row_tokens, fill_id=END_TOKEN_ID)


def _between_ends(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return [[END_TOKEN_ID, *ids, END_TOKEN_ID] for ids in encode_plain(tokenizer, list(texts))]
