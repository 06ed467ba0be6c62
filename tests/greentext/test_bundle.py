import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from greentext import bundle
from greentext.bundle import (
    BundleError,
    IntegrityError,
    LayoutError,
    ManifestError,
    ModelDescription,
    TokenizerError,
    read_manifest,
    verify,
    write_bundle,
)
from greentext.control_tokens import END_TOKEN, START_TOKEN

DESCRIPTION: dict[str, Any] = {
    "name": "snail-5m",
    "description": "Writes of snails.",
    "base_model": "none",
    "architecture": "gpt_neo",
    "precision": "int8",
    "context_length": 256,
    "vocab_size": 100,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 4,
    "head_dim": 16,
    "control_tokens": {"start": {"id": 1, "text": START_TOKEN}, "end": {"id": 0, "text": END_TOKEN}},
    "default_sampling": {
        "temperature": 0.8,
        "opening_temperature": 1.1,
        "top_k": 50,
        "top_p": 0.9,
        "min_p": 0,
        "repetition_penalty": 1.2,
        "max_new_tokens": 90,
    },
    "evaluation": {"bits_per_byte": 1.25},
    "dataset": {"name": "snails", "sha256": "a" * 64, "documents": 3},
    "license": "MIT",
}
ADDED_TOKENS = [{"id": 0, "content": END_TOKEN, "special": True}, {"id": 1, "content": START_TOKEN, "special": True}]


def write(directory: Path, *, graph: bytes = b"graph", tokenizer: object = None, **changes: object) -> None:
    sources = directory.parent / "sources"
    sources.mkdir(exist_ok=True)
    (sources / "graph").write_bytes(graph)
    (sources / "tokenizer").write_text(json.dumps({"added_tokens": ADDED_TOKENS} if tokenizer is None else tokenizer))
    write_bundle(
        directory,
        ModelDescription(**{**DESCRIPTION, **changes}),  # type: ignore[arg-type]
        model=sources / "graph",
        tokenizer=sources / "tokenizer",
        model_card="# Snail\n",
    )


@pytest.fixture
def snail(tmp_path: Path) -> Path:
    write(tmp_path / "snail")
    return tmp_path / "snail"


def change_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    change(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_written_verifies_and_reads_back(snail: Path) -> None:
    manifest = verify(snail)
    assert manifest == read_manifest(snail)
    assert manifest.model_dump(include=set(DESCRIPTION)) == DESCRIPTION
    assert manifest.files["model.onnx"].size_bytes == len(b"graph")
    assert sorted(path.name for path in snail.iterdir()) == [
        "README.md",
        "manifest.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert [path.name for path in snail.parent.iterdir() if path.name.startswith(".")] == []


def test_a_manifest_from_before_first_lines_had_a_temperature_is_read(snail: Path) -> None:
    change_manifest(snail, lambda manifest: manifest["default_sampling"].pop("opening_temperature"))
    assert verify(snail).default_sampling.opening_temperature is None


def test_a_licence_may_lie_beside(snail: Path) -> None:
    (snail / "LICENSE").write_text("MIT")
    verify(snail)


# ------------------------------------------------------------------------------- files that are not right


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "README.md"])
class TestEachFile:
    def test_with_a_flipped_bit(self, snail: Path, name: str) -> None:
        content = bytearray((snail / name).read_bytes())
        content[len(content) // 2] ^= 1
        (snail / name).write_bytes(content)
        with pytest.raises(IntegrityError, match=rf"{name}.*SHA-256.*copy the bundle again"):
            verify(snail)

    def test_cut_short(self, snail: Path, name: str) -> None:
        os.truncate(snail / name, 3)
        with pytest.raises(IntegrityError, match=rf"{name}: 3 bytes where the manifest says"):
            verify(snail)

    def test_grown(self, snail: Path, name: str) -> None:
        os.truncate(snail / name, 2**40)  # sparse: reading it would take hours
        with pytest.raises(IntegrityError, match=name):
            verify(snail)

    def test_missing(self, snail: Path, name: str) -> None:
        (snail / name).unlink()
        with pytest.raises(LayoutError, match=rf"{name}: missing"):
            verify(snail)

    def test_a_link_to_the_very_file(self, snail: Path, name: str) -> None:
        (snail / name).rename(snail.parent / name)
        (snail / name).symlink_to(snail.parent / name)
        with pytest.raises(LayoutError, match=rf"{name}: a link"):
            verify(snail)

    def test_a_pipe(self, snail: Path, name: str) -> None:
        (snail / name).unlink()
        os.mkfifo(snail / name)
        with pytest.raises(LayoutError, match=rf"{name}: no regular file"):
            verify(snail)

    def test_a_directory(self, snail: Path, name: str) -> None:
        (snail / name).unlink()
        (snail / name).mkdir()
        with pytest.raises(LayoutError, match=rf"{name}: no regular file"):
            verify(snail)

    def test_without_a_record(self, snail: Path, name: str) -> None:
        change_manifest(snail, lambda manifest: manifest["files"].pop(name))
        with pytest.raises(ManifestError, match=name):
            verify(snail)


@pytest.mark.parametrize("name", ["model.onnx.data", ".hidden", "evil.so"])
def test_an_unexpected_file(snail: Path, name: str) -> None:
    (snail / name).touch()
    with pytest.raises(LayoutError, match=name):
        verify(snail)


def test_an_unexpected_directory(snail: Path) -> None:
    (snail / "more").mkdir()
    with pytest.raises(LayoutError, match="more"):
        verify(snail)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no such directory"):
        verify(tmp_path / "nothing")


# ------------------------------------------------------------------------------- manifests that are not right


def test_a_huge_manifest(snail: Path) -> None:
    os.truncate(snail / "manifest.json", 2**40)
    with pytest.raises(ManifestError, match="larger than"):
        verify(snail)


def test_a_manifest_that_is_a_link(snail: Path) -> None:
    (snail / "manifest.json").rename(snail.parent / "manifest.json")
    (snail / "manifest.json").symlink_to("../manifest.json")
    with pytest.raises(LayoutError, match="a link"):
        read_manifest(snail)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 500_000, b'{"a":' * 100_000, b'{"name": "snail-5m"}']
)
def test_a_manifest_that_is_none(snail: Path, content: bytes) -> None:
    (snail / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError) as raised:
        verify(snail)
    assert len(str(raised.value)) < 1000 + len(str(snail))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("schema_version", True),
        ("graph_version", 0),
        ("name", ""),
        ("name", "../snail"),
        ("name", "Snail"),
        ("name", "snail\n"),
        ("name", "s" * 65),
        ("architecture", "bert"),
        ("precision", "fp8"),
        ("context_length", 0),
        ("context_length", 10**9),
        ("context_length", "256"),
        ("context_length", 256.5),
        ("vocab_size", 10**9),
        ("num_layers", -1),
        ("num_kv_heads", 3),
        ("head_dim", 10**6),
        ("head_dim", None),
        ("license", ""),
        ("evaluation.bits_per_byte", float("nan")),
        ("evaluation.bits_per_byte", float("inf")),
        ("evaluation.bits_per_byte", "1.2"),
        ("control_tokens.start.id", 100),
        ("control_tokens.start.id", 0),
        ("control_tokens.start.id", -1),
        ("control_tokens.start.id", True),
        ("control_tokens.start.text", END_TOKEN),
        ("default_sampling.opening_temperature", 0),
        ("default_sampling.opening_temperature", 10.5),
        ("default_sampling.temperature", -0.1),
        ("default_sampling.temperature", float("nan")),
        ("default_sampling.top_k", 101),
        ("default_sampling.top_p", 0),
        ("default_sampling.top_p", 1.1),
        ("default_sampling.repetition_penalty", 0),
        ("default_sampling.max_new_tokens", 256),
        ("dataset.sha256", "A" * 64),
        ("dataset.sha256", "a" * 63),
        ("dataset.documents", 0),
        ("files.model__onnx.size_bytes", 2 * 1024**3 + 1),
        ("files.model__onnx.size_bytes", 0),
        ("files.model__onnx.sha256", "a" * 64 + "\n"),
        ("files.__/model__onnx", {"sha256": "a" * 64, "size_bytes": 1}),
        ("files.weights__bin", {"sha256": "a" * 64, "size_bytes": 1}),
        ("surprise", 1),
        ("dataset.surprise", 1),
    ],
)
def test_a_manifest_out_of_bounds(snail: Path, field: str, value: object) -> None:
    *path, last = [part.replace("__", ".") for part in field.split(".")]

    def change(manifest: dict[str, Any]) -> None:
        for part in path:
            manifest = manifest[part]
        manifest[last] = value

    change_manifest(snail, change)
    with pytest.raises(ManifestError):
        verify(snail)


def test_a_manifest_cannot_be_changed_in_memory(snail: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        verify(snail).name = "other"


# ------------------------------------------------------------------------------- tokenizers that do not fit


@pytest.mark.parametrize(
    "added",
    [
        [],
        ADDED_TOKENS[:1],
        [ADDED_TOKENS[0], {"id": 2, "content": START_TOKEN, "special": True}],
        [ADDED_TOKENS[0], {"id": True, "content": START_TOKEN, "special": False}],
        [ADDED_TOKENS[0], {"id": 1, "content": START_TOKEN, "special": False}],
        [*ADDED_TOKENS, {"id": 2, "content": START_TOKEN, "special": True}],
        [*ADDED_TOKENS, {"id": 1, "content": "<|other|>", "special": True}],
        ["<|endoftext|>"],
        None,
    ],
)
def test_a_tokenizer_with_other_control_tokens(tmp_path: Path, added: object) -> None:
    with pytest.raises(TokenizerError):
        write(tmp_path / "snail", tokenizer={"added_tokens": added})
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]


@pytest.mark.parametrize("tokenizer", [[], "text", 1])
def test_a_tokenizer_that_is_none(tmp_path: Path, tokenizer: object) -> None:
    with pytest.raises(TokenizerError):
        write(tmp_path / "snail", tokenizer=tokenizer)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 1_000_000])
def test_a_tokenizer_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    for name in ("graph", "tokenizer"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError, match="not JSON"):
        write_bundle(
            tmp_path / "snail",
            ModelDescription(**DESCRIPTION),
            model=tmp_path / "graph",
            tokenizer=tmp_path / "tokenizer",
            model_card="# Snail\n",
        )


# ------------------------------------------------------------------------------- writing


def test_a_bundle_replaces_another(snail: Path) -> None:
    (snail / "LICENSE").write_text("MIT")
    write(snail, graph=b"better graph", name="snail-6m")
    assert verify(snail).name == "snail-6m"
    assert (snail / "model.onnx").read_bytes() == b"better graph"
    assert sorted(path.name for path in snail.parent.iterdir()) == ["snail", "sources"]


def test_an_empty_model_is_refused(snail: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: 0 bytes"):
        write(snail, graph=b"")
    assert verify(snail).name == "snail-5m"


class PowerLossError(BaseException):
    """Nothing catches it, as nothing would."""


@pytest.mark.parametrize("place", ["verify", "_sync", "_put_in_place", "_exchange"])
def test_a_crash_before_the_exchange_leaves_the_old_bundle(
    snail: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise PowerLossError

    monkeypatch.setattr(bundle, place, crash)
    monkeypatch.setattr("shutil.rmtree", crash)  # nothing is tidied up either
    with pytest.raises(PowerLossError):
        write(snail, name="snail-6m")
    monkeypatch.undo()
    assert verify(snail).name == "snail-5m"
    write(snail, name="snail-7m")
    assert verify(snail).name == "snail-7m"


def test_a_crash_after_the_exchange_leaves_the_new_bundle(snail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise PowerLossError

    monkeypatch.setattr("shutil.rmtree", crash)
    with pytest.raises(PowerLossError):
        write(snail, name="snail-6m")
    assert verify(snail).name == "snail-6m"


class NoExchange:
    """A C library whose file system, or kernel, cannot exchange two directories."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def renameat2(self, *_: object) -> int:
        return -1


class TestWithoutExchange:
    @pytest.fixture(autouse=True)
    def _no_exchange(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ctypes.CDLL", NoExchange)
        monkeypatch.setattr("ctypes.get_errno", lambda: errno.EINVAL)

    def test_a_bundle_replaces_another(self, snail: Path) -> None:
        write(snail, name="snail-6m")
        assert verify(snail).name == "snail-6m"
        assert sorted(path.name for path in snail.parent.iterdir()) == ["snail", "sources"]

    def test_a_failure_halfway_puts_the_old_one_back(self, snail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if self.suffix == ".new" and not target.exists():
                raise OSError(errno.EIO, "input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="input/output error"):
            write(snail, name="snail-6m")
        assert verify(snail).name == "snail-5m"


def test_another_failure_of_the_exchange_is_told(snail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", NoExchange)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EACCES)
    with pytest.raises(PermissionError):
        write(snail, name="snail-6m")
    assert verify(snail).name == "snail-5m"
