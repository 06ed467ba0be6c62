"""The stage `images`, from posts and folders to rows and files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from data_pipeline.errors import FolderInUseError, OtherSettingsError, StageError
from data_pipeline.images import ImagesSettings, run
from data_pipeline.images.picture import perceptual_hash
from data_pipeline.results import read_rows
from data_pipeline.rows import Post, Screenshot
from data_pipeline.stage import StageRun
from tests.data_pipeline.picture_server import (
    REPOSITORY,
    PictureServer,
    Request,
    encoded,
    picture_server,
    png_bomb,
    screenshot,
    starter_stories,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

STORIES = starter_stories()
PAGES = [screenshot(text) for text in STORIES[:12]]
PNGS = [encoded(page) for page in PAGES]
QUICK: dict[str, Any] = {
    "private_addresses": True, "host_interval_s": 0.0, "backoff_s": 0.01, "tries": 2, "stall_timeout_s": 1.0,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with picture_server() as server:
        yield server


def quick(**settings: Any) -> ImagesSettings:
    return ImagesSettings(**{**QUICK, **settings})


def post(name: str, *urls: str | tuple[str, ...]) -> Post:
    """A post; a picture with fall-backs is a tuple."""
    all_urls = [(url,) if isinstance(url, str) else url for url in urls]
    return Post(
        id=name, created_s=1_600_000_000, title="found this", score=7, flair=None,
        image_urls=tuple(first for first, *_ in all_urls), fallback_urls=tuple(tuple(rest) for _, *rest in all_urls),
    )  # fmt: skip


def write_posts(path: Path, posts: Sequence[Post]) -> Path:
    path.write_text("".join(post.model_dump_json() + "\n" for post in posts), encoding="utf-8")
    return path


def kept(folder: Path) -> list[Screenshot]:
    return list(read_rows(folder, Screenshot))


def drops(folder: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail of what was dropped, by id."""
    lines = (folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    return {drop["row"]["id"]: (drop["reason"], drop["detail"]) for drop in map(json.loads, lines)}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_posts_become_checked_pictures_named_by_their_content(server: PictureServer, tmp_path: Path) -> None:
    posts = [
        post("aaa", server.serve("/0.png", PNGS[0])),
        post("bbb", server.serve("/1.png", PNGS[1]), server.serve("/2.jpg", encoded(PAGES[2], "JPEG", quality=80))),
    ]
    out = tmp_path / "out"
    summary = run([write_posts(tmp_path / "posts.jsonl", posts)], out, quick())
    assert (summary.items, summary.kept, summary.dropped) == (3, 3, {})
    rows = kept(out)
    assert [(row.id, row.origin) for row in rows] == [("aaa-0", "aaa"), ("bbb-0", "bbb"), ("bbb-1", "bbb")]
    for row, page in zip(rows, PAGES, strict=False):
        content = (out / row.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
        assert row.sha256 in row.path
        assert (row.width, row.height) == page.size
    assert [row.path.rsplit(".")[-1] for row in rows] == ["png", "png", "jpg"]
    assert files_below(out / "pictures") == {row.path.removeprefix("pictures/") for row in rows}
    assert not list(out.rglob(".parts"))
    found = [json.loads(line) for line in (out / "downloads" / "kept.jsonl").read_text().splitlines()]
    assert [row["url"] for row in found] == [server.url("/0.png"), server.url("/1.png"), server.url("/2.jpg")]


def test_a_fall_back_is_taken_where_the_best_is_not_to_be_had(server: PictureServer, tmp_path: Path) -> None:
    good = server.serve("/good.png", PNGS[0])
    html = server.serve("/html.png", b"<html>" * 100)
    deleted = server.do(
        "/deleted", lambda request: request.answer(status=302, location="https://i.imgur.com/removed.png")
    )
    broken = server.serve("/broken", b"", 500)
    cut = server.serve("/cut.png", PNGS[1][:-3000])
    posts = [
        post("gone", (server.url("/gone"), good)),
        post("html", (html, server.serve("/good1.png", PNGS[1]))),
        post("deleted", (deleted, server.serve("/good2.png", PNGS[2]))),
        post("broken", (broken, server.serve("/good3.png", PNGS[3]))),
        post("cut", (cut, server.url("/gone"), server.serve("/good4.png", PNGS[4]))),
        post("never", (html, server.url("/gone"))),
        post("perhaps", (html, broken)),
    ]
    out = tmp_path / "out"
    summary = run([write_posts(tmp_path / "posts.jsonl", posts)], out, quick())
    assert [row.origin for row in kept(out)] == ["gone", "html", "deleted", "broken", "cut"]
    assert summary.dropped == {"not_a_picture": 1, "unreachable": 1}
    _, detail = drops(out)["never-0"]
    assert "HTML" in detail
    assert "/gone: 404" in detail
    # Cut off without a word about the length? It might have been the line.
    assert server.count("/cut.png") == 2


def test_each_misbehaviour_is_dropped_under_its_reason(server: PictureServer, tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\n\r\n" + PNGS[0])
        for _ in range(1000):
            request.send(bytes(65536))

    faults = {
        "gone": server.url("/nowhere"),
        "forbidden": server.serve("/403", b"", 403),
        "refused_by_the_host": server.serve("/418", b"", 418),
        "deleted": server.do("/del", lambda request: request.answer(status=301, location="//i.imgur.com/removed.png")),
        "bad_address": "gopher://example.com/picture",
        "too_many_redirects": server.do("/loop", lambda request: request.answer(status=302, location="/loop")),
        "unreachable": server.serve("/500", b"", 500),
        "too_many_bytes": server.do("/endless", endless),
        "not_a_picture": server.serve("/page.png", b"<!doctype html>" * 99, content_type="image/png"),
        "other_format": server.serve("/bmp", encoded(PAGES[0], "BMP")),
        "animated": server.serve("/gif", encoded(PAGES[0], "GIF", save_all=True, append_images=[PAGES[1]])),
        "damaged": server.serve("/damaged", PNGS[0][:-2000]),
        "too_large": server.serve("/bomb", png_bomb(20_000, 20_000)),
        "too_small": server.serve("/small", encoded(PAGES[0].resize((159, 100)))),
        "blank": server.serve("/blank", encoded(Image.new("RGB", (300, 300), "white"))),
    }
    posts = [post(f"p{number}", url) for number, url in enumerate(faults.values())]
    posts += [post("empty"), post("fine", server.serve("/fine", PNGS[2])), post("fine", server.url("/fine"))]
    out = tmp_path / "out"
    summary = run([write_posts(tmp_path / "posts.jsonl", posts)], out, quick(max_bytes=2_000_000))
    assert summary.dropped == {**dict.fromkeys(faults, 1), "no_pictures": 1, "repeated_post": 1}
    assert [row.id for row in kept(out)] == ["fine-0"]
    assert len(files_below(out / "pictures")) == 1
    table = summary.table()
    assert "dropped: too_large" in table


def test_copies_are_kept_once_and_the_largest_of_them(server: PictureServer, tmp_path: Path) -> None:
    page = PAGES[0]
    larger = page.resize((page.width * 2, page.height * 2), Image.Resampling.LANCZOS)
    posts = [
        post("small", server.serve("/small", PNGS[0])),
        post("large", server.serve("/large", encoded(larger, "JPEG", quality=90))),
        post("again", server.serve("/again", PNGS[0])),
        post("other", server.serve("/other", PNGS[1])),
    ]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    out = tmp_path / "out"
    summary = run([source], out, quick())
    assert [row.origin for row in kept(out)] == ["large", "other"]
    assert summary.dropped == {"duplicate": 1, "near_duplicate": 1}
    reason, detail = drops(out)["again-0"]
    assert (reason, detail) == ("duplicate", "the same file as small-0")
    assert drops(out)["small-0"][1].endswith("bits from large-0")
    alike = run([source], tmp_path / "alike", quick(near_duplicate_distance=-1))
    assert alike.dropped == {"duplicate": 1}


def test_a_placeholder_can_be_named_by_its_hash(server: PictureServer, tmp_path: Path) -> None:
    placeholder = screenshot(">this picture\n>has moved\n>to another place")
    posts = [
        post("moved", server.serve("/moved", encoded(placeholder, "JPEG", quality=85))),
        post("fine", server.serve("/fine", PNGS[0])),
    ]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    settings = quick(placeholders=(perceptual_hash(placeholder),))
    summary = run([source], tmp_path / "out", settings)
    assert (summary.kept, summary.dropped) == (1, {"deleted": 1})
    with pytest.raises(StageError, match="--placeholders"):
        run([source], tmp_path / "out2", quick(placeholders=("abc",)))


def some_posts(server: PictureServer, answer: Callable[[Request], None]) -> list[Post]:
    return [post(f"p{number:02}", server.do(f"/{number}", answer)) for number in range(len(PNGS))]


def picture_of(request: Request) -> bytes:
    return PNGS[int(request.path[1:])]


def test_the_order_in_which_downloads_end_changes_nothing(server: PictureServer, tmp_path: Path) -> None:
    rng = random.Random(3)

    def late(request: Request) -> None:
        time.sleep(rng.random() / 10)
        request.answer(picture_of(request))

    posts = some_posts(server, late)
    # Copies too: which of them comes first is chance.
    posts += [
        post(f"q{number}", server.serve(f"/copy/{number}", encoded(PAGES[number], "JPEG"))) for number in range(5)
    ]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    results = {run([source], tmp_path / str(n), quick(host_connections=6)).kept_sha256 for n in range(3)}
    results.add(run([source], tmp_path / "alone", quick(host_connections=1)).kept_sha256)
    assert len(results) == 1
    assert len({(tmp_path / str(n) / "dropped.jsonl").read_bytes() for n in range(3)}) == 1


def test_a_finished_stage_asks_nobody_and_knows_what_it_was_made_from(server: PictureServer, tmp_path: Path) -> None:
    source = write_posts(
        tmp_path / "posts.jsonl", some_posts(server, lambda request: request.answer(picture_of(request)))
    )
    out = tmp_path / "out"
    first = run([source], out, quick())
    asked = len(server.requests)
    # How hosts are treated changes no result.
    assert run([source], out, quick(user_agent="another", tries=7, connections=2, max_unreachable=0.1)) == first
    assert len(server.requests) == asked
    with pytest.raises(OtherSettingsError, match="min_width"):
        run([source], out, quick(min_width=200))
    with pytest.raises(OtherSettingsError, match="near_duplicate_distance"):
        run([source], out, quick(near_duplicate_distance=3))
    again = run([source], out, quick(near_duplicate_distance=3), restart=True)
    assert again.kept == first.kept
    assert len(server.requests) == 2 * asked
    assert "user_agent" not in (out / "summary.json").read_text()


def test_what_was_out_of_reach_is_tried_again_by_the_next_run(server: PictureServer, tmp_path: Path) -> None:
    works = threading.Event()

    def answer(request: Request) -> None:
        if works.is_set() or int(request.path[1:]) < 4:
            request.answer(picture_of(request))
        else:
            request.answer(status=502)

    source = write_posts(tmp_path / "posts.jsonl", some_posts(server, answer))
    out = tmp_path / "out"
    with pytest.raises(StageError, match=r"8 of 12 pictures were out of reach.*502.*Run again") as caught:
        run([source], out, quick())
    assert "--max-unreachable" in str(caught.value)
    assert not (out / "kept.jsonl").exists()
    server.requests.clear()
    works.set()
    assert run([source], out, quick()).kept == 12
    assert sorted(int(request.path[1:]) for request in server.requests) == list(range(4, 12))


def test_one_can_go_on_without_what_is_out_of_reach(server: PictureServer, tmp_path: Path) -> None:
    source = write_posts(tmp_path / "posts.jsonl", some_posts(server, lambda request: request.answer(status=502)))
    summary = run([source], tmp_path / "out", quick(max_unreachable=1))
    assert (summary.kept, summary.dropped) == (0, {"unreachable": 12})


def test_a_host_that_keeps_us_waiting_holds_up_nobody_else(server: PictureServer, tmp_path: Path) -> None:
    def busy(request: Request) -> None:
        if request.number == 1:
            request.answer(status=429, retry_after=2)
        else:
            request.answer(PNGS[0])

    posts = [post(f"busy{number}", server.do(f"/busy/{number}", busy)) for number in range(4)]
    posts += [
        post(f"p{number}", server.serve(f"/{number}", PNGS[number]).replace("127.0.0.1", "127.0.0.2"))
        for number in range(12)
    ]
    source = write_posts(tmp_path / "posts.jsonl", posts)
    summary = run([source], tmp_path / "out", quick(connections=4, host_connections=4))
    assert summary.dropped.get("unreachable") is None
    quiet_s = min(request.began_s for request in server.requests) + 1.9
    assert sum(request.began_s < quiet_s and request.host == "127.0.0.2" for request in server.requests) == 12


# ------------------------------------------------------------------------------------------- kill -9

PROGRAM = """
import sys
from pathlib import Path
from data_pipeline.images import ImagesSettings, run
run([Path(sys.argv[1])], Path(sys.argv[2]), ImagesSettings.model_validate_json(sys.argv[3]))
"""


def started(source: Path, out: Path, settings: ImagesSettings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(out), settings.model_dump_json()]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)


def test_a_killed_run_goes_on_and_asks_for_nothing_twice_but_what_was_under_way(
    server: PictureServer, tmp_path: Path
) -> None:
    def slow(request: Request) -> None:
        # In two parts, so that kills leave half a file.
        body = picture_of(request)
        request.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body[:900])
        time.sleep(0.3)
        request.send(body[900:])

    def half_a_file() -> bool:
        return (out / ".parts").is_dir() and any((out / ".parts").iterdir())

    source = write_posts(tmp_path / "posts.jsonl", some_posts(server, slow))
    out, places = tmp_path / "out", 2
    settings = quick(host_connections=places)
    kills = 0
    for enough in (4, 9):
        process = started(source, out, settings)
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s and (
            len({request.path for request in server.requests}) < enough or not half_a_file()
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert half_a_file()
    summary = run([source], out, settings)
    assert (summary.kept, summary.dropped) == (12, {})
    assert len(server.requests) <= 12 + kills * places
    assert not (out / ".parts").exists()
    assert summary.kept_sha256 == run([source], tmp_path / "undisturbed", settings).kept_sha256
    assert files_below(out / "pictures") == files_below(tmp_path / "undisturbed" / "pictures")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(PNGS[0])
    with StageRun(tmp_path / "out", "images", {}), pytest.raises(FolderInUseError):
        run([pictures], tmp_path / "out", quick())


def test_a_picture_that_was_removed_behind_our_back_is_noticed(server: PictureServer, tmp_path: Path) -> None:
    source = write_posts(
        tmp_path / "posts.jsonl", some_posts(server, lambda request: request.answer(picture_of(request)))
    )
    out = tmp_path / "out"
    run([source], out, quick())
    # As after a kill between the downloads and the choice.
    for name in ("summary.json", "kept.jsonl", "dropped.jsonl"):
        (out / name).rename(tmp_path / name)
    (out / "journal.jsonl").touch()
    asked = len(server.requests)
    assert run([source], out, quick()).kept_sha256 == json.loads((tmp_path / "summary.json").read_text())["kept_sha256"]
    assert len(server.requests) == asked
    (out / "summary.json").unlink()
    (out / "journal.jsonl").touch()
    next((out / "pictures").rglob("*.png")).unlink()
    with pytest.raises(StageError, match="--restart"):
        run([source], out, quick())


# ------------------------------------------------------------------------------------------- folders


def test_a_folder_of_pictures_is_checked_and_copied(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "deep" / "er").mkdir(parents=True)
    (pictures / ".hidden").mkdir()
    (pictures / "first.png").write_bytes(PNGS[0])
    (pictures / "deep" / "er" / "second.jpeg").write_bytes(encoded(PAGES[1], "JPEG"))
    (pictures / "deep" / "same.png").write_bytes(PNGS[2])
    (pictures / "same.jpg").write_bytes(encoded(PAGES[3], "JPEG"))
    (pictures / "copy of first.png").write_bytes(PNGS[0])
    (pictures / "notes.txt").write_text("not_a_picture")
    (pictures / "same.truth.txt").write_text(">be me")
    (pictures / ".hidden" / "a.png").write_bytes(PNGS[4])
    (pictures / ".DS_Store").write_bytes(b"x")
    (pictures / "dangling.png").symlink_to(tmp_path / "nowhere")
    before = files_below(pictures)
    out = tmp_path / "out"
    summary = run([pictures], out, quick())
    assert [row.id for row in kept(out)] == ["copy of first", "same.jpg", "deep/same.png", "second"]
    assert summary.dropped == {"duplicate": 1, "not_a_picture": 2}
    assert drops(out)["first"][1] == "the same file as copy of first"
    assert all(row.origin == "" and (out / row.path).is_file() for row in kept(out))
    assert files_below(pictures) == before


def test_a_picture_a_folder_and_posts_together(server: PictureServer, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(PNGS[0])
    (tmp_path / "two" / "a.png").write_bytes(PNGS[1])
    (tmp_path / "single.png").write_bytes(PNGS[2])
    stage = tmp_path / "posts"
    with StageRun(stage, "posts", {}) as posts:
        posts.record(0, "x", kept=[post("x", server.serve("/3.png", PNGS[3]))])
        posts.finish()
    inputs = [tmp_path / "one", tmp_path / "two", tmp_path / "single.png", stage]
    summary = run(inputs, tmp_path / "out", quick())
    assert [row.id for row in kept(tmp_path / "out")] == ["a", "a~2", "single", "x-0"]
    assert summary.items == 4


def test_a_changed_folder_is_another_input(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(PNGS[0])
    # The results below the input are no input.
    out = pictures / "out"
    assert run([pictures], out, quick()).kept == 1
    assert run([pictures], out, quick()).items == 1
    (pictures / "b.png").write_bytes(PNGS[1])
    with pytest.raises(OtherSettingsError, match="inputs"):
        run([pictures], out, quick())
    assert run([pictures], out, quick(), restart=True).kept == 2


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_file_name_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with open(os.fsencode(pictures) + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
        file.write(PNGS[0])
    with open(os.fsencode(pictures) + b"/bad\xff.png", "wb") as file:  # noqa: PTH123
        file.write(b"nothing")
    assert run([pictures], tmp_path / "out", quick()).dropped == {"not_a_picture": 1}
    assert [row.id for row in kept(tmp_path / "out")] == ["caf\ufffd"]


def test_files_beyond_the_limit_are_not_copied(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(PNGS[0] + bytes(100_000))
    with (pictures / "b.png").open("wb") as file:
        file.truncate(10**12)
    summary = run([pictures], tmp_path / "out", quick(max_bytes=100_000))
    assert summary.dropped == {"too_many_bytes": 2}


def test_inputs_that_cannot_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="nowhere"):
        run([tmp_path / "nowhere"], tmp_path / "out", quick())
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"id": "a", "text": ">be me"}\n')
    with pytest.raises(StageError, match=r"wrong\.jsonl, line 1, is no Post"):
        run([wrong], tmp_path / "out", quick())
    uneven = write_posts(tmp_path / "uneven.jsonl", [post("a", "http://a").model_copy(update={"fallback_urls": ()})])
    with pytest.raises(StageError, match="fall-backs"):
        run([uneven], tmp_path / "out2", quick())


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    summary = run([write_posts(tmp_path / "posts.jsonl", [])], tmp_path / "out", quick())
    assert (summary.items, summary.kept) == (0, 0)


def test_a_full_disk_is_an_error_of_the_system_and_not_of_a_picture(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_posts(
        tmp_path / "posts.jsonl", some_posts(server, lambda request: request.answer(picture_of(request)))
    )

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("data_pipeline.images.fetching.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run([source], tmp_path / "out", quick())
    assert run([source], tmp_path / "out", quick()).kept == 12


def test_help_pays_for_no_library() -> None:
    program = (
        "import sys, data_pipeline.images\n"
        "heavy = {'httpx', 'PIL', 'imagehash', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
