"""Several models at once: the folder, loading, unloading, draining; fake models under the real engine."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from service import registry as registry_module
from service.engine import llm_engine
from service.engine.errors import ModelLoadError
from service.engine.sampling_params import SamplingParams
from service.engine.sequence import FinishReason
from service.models_folder import ModelsFolder
from service.registry import (
    ModelBusyError,
    Registry,
    UnknownModelError,
    UnusableModelError,
)
from service.served_model import ServedModel, memory_bytes
from service.settings import Settings
from tests.service import fake_model
from tests.service.fake_model import NAME, START_ID, TEXT, write_fake_bundle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("runners")
SLOTS = 2


class Runners:
    """How many models were loaded, and how the next ones behave."""

    def __init__(self) -> None:
        self.loaded = 0
        self.load_s = 0.0
        self.fails = False
        self.gate: threading.Event | None = None


@pytest.fixture
def runners(monkeypatch: pytest.MonkeyPatch) -> Runners:
    state = Runners()

    class Runner(fake_model.FakeRunner):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            state.loaded += 1
            time.sleep(state.load_s)
            if state.gate is not None:
                state.gate.wait(10)
            if state.fails:
                raise ModelLoadError("no graph of ours")

    monkeypatch.setenv("FAKE_STEP_S", "0.001")
    monkeypatch.setattr(llm_engine, "ModelRunner", Runner)
    monkeypatch.setattr(llm_engine, "Sampler", fake_model.FakeSampler)
    monkeypatch.setattr(registry_module, "LOOK_INTERVAL_S", 0.0)
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for name in (NAME, "a", "b", "c"):
        write_fake_bundle(folder / name, name)
    return folder


@pytest.fixture
async def start(folder: Path) -> AsyncIterator[Callable[..., Awaitable[Registry]]]:
    """Starts a registry with these settings beside the usual ones; all are drained at the end."""
    started: list[Registry] = []

    async def make(**settings: Any) -> Registry:
        usual = {"model_dir": folder / NAME, "models_dir": folder, "max_slots": SLOTS, "max_waiting": 8}
        registry = Registry(Settings(**{**usual, **settings}))
        started.append(registry)
        await registry.start()
        return registry

    yield make
    for registry in started:
        await registry.drain(0)


def size_bytes(registry: Registry) -> int:
    assert registry.default is not None
    return registry.default.size_bytes


async def write(model: ServedModel, **params: Any) -> str:
    (stream,) = model.engine.submit([START_ID], SamplingParams(**params), stream=False)
    return (await stream.completion()).text


async def loaded(registry: Registry) -> set[str]:
    await registry.look()
    return {bundle.name for bundle in registry.bundles if bundle.state == "loaded"}


# ------------------------------------------------------------------------------------------- loading


async def test_the_default_comes_first_and_the_others_when_they_are_asked_for(
    start: Callable[..., Awaitable[Registry]], runners: Runners
) -> None:
    registry = await start()
    assert registry.is_ready
    await registry.look()
    assert [bundle.name for bundle in registry.bundles] == [NAME, "a", "b", "c"]
    assert [bundle.state for bundle in registry.bundles] == ["loaded", "unloaded", "unloaded", "unloaded"]
    assert runners.loaded == 1
    assert registry.loaded("a") is None
    model = await registry.get("a")
    assert registry.loaded("a") is model is await registry.get("a")
    assert await write(model) == TEXT
    assert (await registry.get(None)).name == NAME
    assert await loaded(registry) == {NAME, "a"}


async def test_a_model_is_loaded_once_however_many_ask(
    start: Callable[..., Awaitable[Registry]], runners: Runners
) -> None:
    registry = await start()
    runners.load_s = 0.1
    models = await asyncio.gather(*(registry.get("a") for _ in range(8)))
    assert len({id(model) for model in models}) == 1
    assert runners.loaded == 2


async def test_others_are_served_while_a_model_is_loaded(
    start: Callable[..., Awaitable[Registry]], runners: Runners
) -> None:
    registry = await start()
    runners.gate = threading.Event()
    waiting = asyncio.create_task(registry.get("a"))
    while runners.loaded < 2:  # noqa: ASYNC110 - told by another thread
        await asyncio.sleep(0.001)
    default = registry.loaded(None)
    assert default is not None
    assert await write(default) == TEXT
    assert not waiting.done()
    assert [bundle.state for bundle in registry.bundles][1] == "loading"
    runners.gate.set()
    assert (await waiting).name == "a"


async def test_whoever_gives_up_leaves_the_model_to_the_others(
    start: Callable[..., Awaitable[Registry]], runners: Runners
) -> None:
    registry = await start()
    runners.load_s = 0.2
    patient = asyncio.create_task(registry.get("a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(registry.get("a"), 0.05)
    assert (await patient).name == "a"
    assert runners.loaded == 2


async def test_only_so_many_may_wait(start: Callable[..., Awaitable[Registry]], runners: Runners) -> None:
    registry = await start(max_waiting=1)
    runners.load_s = 0.1
    answers = await asyncio.gather(*(registry.get("a") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(answer, ModelBusyError) for answer in answers) == 6 - SLOTS - 1
    assert sum(isinstance(answer, ServedModel) for answer in answers) == SLOTS + 1


async def test_a_model_that_cannot_be_loaded_harms_nobody(
    start: Callable[..., Awaitable[Registry]], runners: Runners, folder: Path
) -> None:
    registry = await start()
    runners.fails = True
    with pytest.raises(UnusableModelError):
        await registry.get("a")
    assert [(found.directory, found.state) for found in registry.unusable] == [("a", "broken")]
    assert "ModelLoadError" in registry.unusable[0].reason
    assert str(folder) not in registry.unusable[0].reason
    runners.fails = False
    with pytest.raises(UnusableModelError):
        await registry.get("a")
    assert await write(await registry.get("b")) == TEXT
    (folder / "a" / "manifest.json").touch()
    assert (await registry.get("a")).name == "a"


async def test_names_aliases_and_what_is_none(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start(model_aliases="simple=a, b=a, lost=nowhere", model_name="mine")
    assert (await registry.get("simple")).name == "a"
    assert (await registry.get("b")).name == "b"
    assert (await registry.get("mine")) is await registry.get(None)
    assert registry.aliases_of("a") == ["simple"]
    for name in ("lost", NAME, "x"):
        with pytest.raises(UnknownModelError) as caught:
            await registry.get(name)
        assert caught.value.known == ["mine", "a", "b", "c"]


async def test_an_engine_that_dies_is_replaced_unless_it_is_the_defaults(
    start: Callable[..., Awaitable[Registry]],
) -> None:
    registry = await start()
    model = await registry.get("a")

    def fail() -> None:
        raise RuntimeError("x")

    model.engine._engine.step = fail  # type: ignore[assignment, method-assign]
    (stream,) = model.engine.submit([START_ID], SamplingParams(), stream=False)
    assert (await stream.completion()).finish_reason is FinishReason.ERROR
    assert registry.is_alive
    again = await registry.get("a")
    assert again is not model
    assert await write(again) == TEXT


# ------------------------------------------------------------------------------------------- unloading


async def test_the_one_not_asked_for_the_longest_goes(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    room = await start(model_memory_bytes=3 * size_bytes(registry) + 100)
    for name in ("a", "b", "a"):
        await room.get(name)
    assert await loaded(room) == {NAME, "a", "b"}
    await room.get("c")
    assert await loaded(room) == {NAME, "a", "c"}
    await room.get("b")
    assert await loaded(room) == {NAME, "b", "c"}


async def test_a_text_ends_before_its_model_goes(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    room = await start(model_memory_bytes=2 * size_bytes(registry) + 100)
    model = await room.get("a")
    writing = asyncio.create_task(write(model, min_new_tokens=200, max_new_tokens=200))
    await asyncio.sleep(0.05)
    other = asyncio.create_task(room.get("b"))
    await asyncio.sleep(0.05)
    assert not other.done()
    assert (await writing).startswith(TEXT * 3)
    assert (await other).name == "b"
    assert await loaded(room) == {NAME, "b"}
    # Who comes back for the first waits for it to be loaded again.
    assert await write(await room.get("a")) == TEXT


async def test_one_that_writes_nothing_goes_before_one_that_does(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    room = await start(model_memory_bytes=3 * size_bytes(registry) + 100)
    busy = await room.get("a")
    await room.get("b")
    writing = asyncio.create_task(write(busy, min_new_tokens=400, max_new_tokens=400))
    await asyncio.sleep(0.05)
    await room.get("c")
    assert not writing.done()
    assert await loaded(room) == {NAME, "a", "c"}
    await writing


async def test_what_does_not_fit_beside_the_default_is_refused(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    small = await start(model_memory_bytes=2 * size_bytes(registry) - 100)
    with pytest.raises(UnusableModelError, match="model_memory_bytes"):
        await small.get("a")
    assert (await small.get(None)).name == NAME


async def test_two_that_take_turns_are_both_served(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    room = await start(model_memory_bytes=2 * size_bytes(registry) + 100)

    async def use(name: str) -> None:
        for _ in range(4):
            model = await room.get(name)
            assert await write(model, max_new_tokens=3) == TEXT[:3]

    await asyncio.wait_for(asyncio.gather(use("a"), use("b"), use("c")), 30)


async def test_what_is_unloaded_is_freed(start: Callable[..., Awaitable[Registry]], folder: Path) -> None:
    registry = await start()
    model = await registry.get("a")
    await write(model)
    gone = weakref.ref(model.engine._engine)
    del model
    shutil.rmtree(folder / "a")
    await registry.look()
    while registry._leaving:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert registry.stats.slots == SLOTS
    gc.collect()
    assert gone() is None


async def test_a_model_counts_as_its_files_and_all_its_slots(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    assert registry.default is not None
    manifest = registry.default.manifest
    files = sum(record.size_bytes for record in manifest.files.values())
    assert registry.default.size_bytes == files + SLOTS * 2 * 512 * 8 * 4
    assert memory_bytes(manifest, Settings(max_slots=100, kv_memory_bytes=3 * 2 * 512 * 8 * 4)) == files + 3 * 32768
    assert memory_bytes(manifest, Settings(max_slots=1, context_tokens=100)) == files + 2 * 100 * 8 * 4


# ------------------------------------------------------------------------------------------- the folder


async def test_a_bundle_that_comes_is_served_and_one_that_goes_is_not(
    start: Callable[..., Awaitable[Registry]], folder: Path, tmp_path: Path
) -> None:
    registry = await start()
    model = await registry.get("a")
    writing = asyncio.create_task(write(model, min_new_tokens=200, max_new_tokens=200))
    await asyncio.sleep(0.02)
    write_fake_bundle(tmp_path / "new", "new").rename(folder / "new")
    assert (await registry.get("new")).name == "new"
    shutil.rmtree(folder / "a")
    await registry.look()
    assert [bundle.name for bundle in registry.bundles] == [NAME, "b", "c", "new"]
    with pytest.raises(UnknownModelError):
        await registry.get("a")
    assert (await writing).startswith(TEXT * 3)


async def test_a_bundle_that_changes_is_loaded_again(
    start: Callable[..., Awaitable[Registry]], folder: Path, tmp_path: Path
) -> None:
    registry = await start()
    before = await registry.get("a")
    other = write_fake_bundle(tmp_path / "other", "a")
    shutil.rmtree(folder / "a")
    other.rename(folder / "a")
    await registry.look()
    assert await registry.get("a") is not before


async def test_the_default_stays_whatever_becomes_of_its_folder(
    start: Callable[..., Awaitable[Registry]], folder: Path
) -> None:
    registry = await start()
    shutil.rmtree(folder)
    await registry.look()
    assert [bundle.name for bundle in registry.bundles] == [NAME]
    assert await write(await registry.get(None)) == TEXT


async def test_a_look_is_taken_at_most_so_often(
    start: Callable[..., Awaitable[Registry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = await start()
    looks = 0
    look = registry._folder.look

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return look()

    monkeypatch.setattr(registry._folder, "look", counted)
    monkeypatch.setattr(registry_module, "LOOK_INTERVAL_S", 60.0)
    for _ in range(5):
        await registry.look()
        registry.loaded(None)
        with pytest.raises(UnknownModelError):
            await registry.get("x")
    assert looks <= 1


def look(folder: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    whole, unusable = ModelsFolder(folder, folder / NAME).look()
    return [bundle.manifest.name for bundle in whole], [
        (found.directory, found.state, found.reason) for found in unusable
    ]


def test_what_is_no_bundle_is_none(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "empty").mkdir()
    (folder / ".a.1234.new").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "frog.png").write_bytes(b"x")
    assert look(folder) == (["a", "b", "c"], [])
    assert look(folder / "nowhere") == ([], [])


def test_a_bundle_that_is_being_copied_is_not_complete_yet(folder: Path, tmp_path: Path) -> None:
    """Whichever file comes last, and however much of it is there."""
    files = ["manifest.json", "model.onnx", "tokenizer.json", "README.md"]
    source = write_fake_bundle(tmp_path / "new", "new")
    for last in files:
        target = folder / "new"
        target.mkdir()
        for name in [*(name for name in files if name != last), last]:
            content = (source / name).read_bytes()
            for part in (0, len(content) // 2, len(content)):
                (target / name).write_bytes(content[:part])
                names, unusable = look(folder)
                if name == last and part == len(content):
                    assert (names, unusable) == (["a", "b", "c", "new"], [])
                else:
                    assert names == ["a", "b", "c"]
                    ((directory, state, reason),) = unusable
                    assert (directory, state) == ("new", "incomplete"), (name, part, reason)
        shutil.rmtree(target)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", b"other 8!", "SHA-256"),
        ("model.onnx", b"longer than it was", "18 bytes where the manifest says 8"),
        ("manifest.json", b'{"name": "a"}', "manifest.json"),
        ("manifest.json", b"[]", "manifest.json"),
        ("extra.bin", b"x", "unexpected extra.bin"),
    ],
)
def test_a_broken_bundle_is_told_with_why(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / "a" / name).write_bytes(content)
    names, ((directory, state, said),) = look(folder)
    assert names == ["b", "c"]
    assert (directory, state) == ("a", "broken")
    assert reason in said
    assert str(folder) not in said


def test_only_what_changed_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelsFolder(folder, folder / NAME)
    first, _ = models.look()
    monkeypatch.setattr("service.models_folder.verify", lambda directory: pytest.fail("read again"))
    second, _ = models.look()
    assert all(one is two for one, two in zip(first, second, strict=True))


def test_a_link_to_a_bundle_is_a_bundle_and_the_default_is_not_served_twice(folder: Path, tmp_path: Path) -> None:
    (folder / "linked").symlink_to(write_fake_bundle(tmp_path / "elsewhere", "linked"))
    (folder / "the-default").symlink_to(folder / NAME)
    assert look(folder) == (["a", "b", "c", "linked"], [])


async def test_the_second_of_a_name_is_told(
    start: Callable[..., Awaitable[Registry]], folder: Path, tmp_path: Path
) -> None:
    write_fake_bundle(tmp_path / "x", "a").rename(folder / "z")
    registry = await start()
    await registry.look()
    assert [bundle.name for bundle in registry.bundles] == [NAME, "a", "b", "c"]
    assert [found.directory for found in registry.unusable] == ["z"]
    assert "the name a" in registry.unusable[0].reason


# ------------------------------------------------------------------------------------------- the end


async def test_draining_ends_all_engines_at_once(start: Callable[..., Awaitable[Registry]]) -> None:
    registry = await start()
    models = [await registry.get(name) for name in (None, "a", "b")]
    writing = [asyncio.create_task(write(model, min_new_tokens=500, max_new_tokens=500)) for model in models]
    short = asyncio.create_task(write(models[1]))
    await asyncio.sleep(0.02)
    started = time.monotonic()
    await registry.drain(0.2)
    assert time.monotonic() - started < 3
    assert await short == TEXT
    await asyncio.gather(*writing)
    assert not registry.is_ready
    assert not any(model.engine.is_healthy for model in models)
    with pytest.raises(ModelBusyError):
        await registry.get("c")


async def test_draining_waits_for_a_model_that_is_being_loaded(
    start: Callable[..., Awaitable[Registry]], runners: Runners
) -> None:
    registry = await start()
    runners.load_s = 0.2
    waiting = asyncio.create_task(registry.get("a"))
    await asyncio.sleep(0.05)
    await registry.drain(5)
    await asyncio.gather(waiting, return_exceptions=True)
    assert not [thread for thread in threading.enumerate() if thread.name == "engine"]
