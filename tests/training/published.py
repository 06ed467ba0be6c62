"""Checkpoints as others publish them, and a hub that serves them over HTTP as the real one does."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.training.conftest import greentexts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedModel

BEGIN, STOP = "<|begin|>", "<|stop|>"
CONTEXT = 64
TEXTS = [row["text"] for row in greentexts(160)]


def _other_texts(count: int) -> list[str]:
    """Words that TEXTS do not have, as most of a published tokenizer's are to a small dataset."""
    rng = random.Random(5)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(150)]
    return [" ".join(rng.choices(words, k=12)) for _ in range(count)]


LEARNT = [*TEXTS, *_other_texts(200)]
"""What the tokenizers are trained on."""


def smollm_tokenizer(vocab_size: int = 420, *, ignore_merges: bool = False) -> PreTrainedTokenizerFast:
    """Of SmolLM's kind: digits one by one, control tokens of its own, which a post-processor puts around a text."""
    bpe = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[STOP], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(LEARNT, trainer)
    # At the end of the vocabulary, as Llama 3 has it: trimming moves it.
    bpe.add_special_tokens([AddedToken(BEGIN, special=True)])
    begin = bpe.token_to_id(BEGIN)
    bpe.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BEGIN, eos_token=STOP)


def gpt2_tokenizer(vocab_size: int = 420) -> PreTrainedTokenizerFast:
    """Of GPT-2's kind: one control token, the last of the vocabulary, not marked as special in the file."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        LEARNT, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens(["<|endoftext|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )


def llama_model(tokenizer: PreTrainedTokenizerFast, *, tied: bool = True) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, initializer_range=0.15, tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2_model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, vocab_size=len(tokenizer), initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def publish(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path, card: str = "") -> Path:
    """Writes what a repository of the hub holds."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    if card:
        (directory / "README.md").write_text(card, encoding="utf-8")
    return directory


@dataclass
class FakeHub:
    """A hub: repositories by id, each with commits by the revisions that name them, and a directory a commit."""

    repositories: dict[str, dict[str, tuple[str, Path]]] = field(default_factory=dict)
    """id to (revision to (commit, directory))"""
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Files whose download breaks off halfway, once."""
    gated: set[str] = field(default_factory=set)

    def add(self, repository: str, directory: Path, *, revision: str = "main") -> str:
        """Puts a directory there, and returns its commit."""
        commit = hashlib.sha1(f"{repository} {revision} {directory}".encode(), usedforsecurity=False).hexdigest()
        revisions = self.repositories.setdefault(repository, {})
        revisions[revision] = revisions[commit] = (commit, directory)
        return commit


class _Handler(BaseHTTPRequestHandler):
    """What `huggingface_hub` asks for: a repository's state, its refs, and its files with ETag and commit."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].replace("%2F", "/")
        if found := re.fullmatch(r"/api/models/(.+?)/revision/(.+)", path):
            return self._info(found[1], found[2])
        if found := re.fullmatch(r"/api/models/(.+?)/refs", path):
            return self._refs(found[1])
        if found := re.fullmatch(r"/api/models/(.+)", path):
            return self._info(found[1], "main")
        if found := re.fullmatch(r"/(.+?)/resolve/((?:refs/pr/\d+)|[^/]+)/(.+)", path):
            return self._file(*found.groups())
        return self._error(404, "RepoNotFound")

    def _info(self, repository: str, revision: str) -> None:
        if (state := self._find(repository, revision)) is None:
            return
        commit, directory = state
        names = sorted(file.name for file in directory.iterdir())
        siblings = [{"rfilename": name} for name in names]
        self._json({"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "private": False})

    def _refs(self, repository: str) -> None:
        revisions = self.hub.repositories.get(repository, {})
        requests = [name for name in revisions if name.startswith("refs/pr/")]
        described = [{"name": name, "ref": name, "targetCommit": revisions[name][0]} for name in requests]
        self._json({"branches": [], "tags": [], "converts": [], "pullRequests": described})

    def _file(self, repository: str, revision: str, name: str) -> None:
        if (state := self._find(repository, revision)) is None:
            return
        commit, directory = state
        if not (directory / name).is_file():
            self._error(404, "EntryNotFound")
            return
        content = (directory / name).read_bytes()
        start, status = 0, 200
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, status = int(asked[1]), 206
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.hub.broken:
            self.hub.broken.remove(name)
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def _find(self, repository: str, revision: str) -> tuple[str, Path] | None:
        revisions = self.hub.repositories.get(repository)
        if revisions is None:
            return self._error(404, "RepoNotFound")
        if repository in self.hub.gated:
            return self._error(403, "GatedRepo")
        if revision not in revisions:
            return self._error(404, "RevisionNotFound")
        return revisions[revision]

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving_hub() -> Iterator[FakeHub]:
    """A hub on a port of this machine."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
