"""All pictures of a run, many at a time: each from the first place that has it, checked, and into its place."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from data_pipeline.errors import StageError
from data_pipeline.images.download import Downloader
from data_pipeline.images.picture import PictureLimits, inspect
from data_pipeline.images.refusals import Reason, RefusedError, UnreachableError
from data_pipeline.images.sources import Found, Item
from data_pipeline.stage import Drop, StageRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tqdm import tqdm

    from data_pipeline.images.settings import ImagesSettings

PICTURES: Final = "pictures"


class Fetching:
    """The downloads of a run: records what becomes of each item, in the order in which they end."""

    def __init__(
        self, downloads: StageRun, folder: Path, parts: Path, settings: ImagesSettings, bar: tqdm[Any]
    ) -> None:
        """`parts` is an empty folder on the same file system as `folder`, for what is under way."""
        self._run = downloads
        self._folder = folder
        self._parts = parts
        self._settings = settings
        self._bar = bar
        self._limits = PictureLimits(settings.max_pixels, settings.max_side, settings.min_width, settings.min_height)
        self._numbers = itertools.count()
        self._cores = len(os.sched_getaffinity(0))
        self._decoding = asyncio.Semaphore(self._cores)
        """Decoding takes memory as well as a core."""
        self._unreachable: list[tuple[int, Item, str]] = []

    async def all(self, items: Sequence[Item]) -> None:
        """Fetches what is not recorded yet.

        Raises:
            StageError: Too much is out of reach; this, and only this, is not recorded.
            OSError: The disk is full, or cannot be written. It comes in an ExceptionGroup.
        """
        # A queue a host: one that keeps us waiting holds up nobody else.
        queues: dict[str, deque[tuple[int, Item]]] = defaultdict(deque)
        for position, item in enumerate(items):
            if item.drop is None and not self._run.is_done(item.id):
                queues[item.host].append((position, item))
        async with Downloader(self._settings) as downloader, asyncio.TaskGroup() as tasks:
            for host, queue in queues.items():
                workers = self._settings.host_connections if host else self._cores
                for _ in range(min(workers, len(queue))):
                    tasks.create_task(self._work(queue, downloader))
        self._judge_reach(sum(item.drop is None for item in items))

    def _judge_reach(self, total: int) -> None:
        missing = len(self._unreachable)
        if missing > self._settings.max_unreachable * total:
            raise StageError(
                f"{missing} of {total} pictures were out of reach, for example {self._unreachable[0][2]}. Is the "
                "network there? Run again to try these again, or with --max-unreachable 1 to go on without them"
            )
        for position, item, detail in self._unreachable:
            self._run.record(position, item.id, dropped=[Drop(Reason.UNREACHABLE, item.row, detail)])

    async def _work(self, queue: deque[tuple[int, Item]], downloader: Downloader) -> None:
        while queue:
            position, item = queue.popleft()
            part = self._parts / str(next(self._numbers))
            try:
                found = await self._one(item, part, downloader)
            except RefusedError as error:
                self._run.record(position, item.id, dropped=[Drop(error.reason, item.row, error.detail)])
            except UnreachableError as error:
                self._unreachable.append((position, item, str(error)))
            else:
                self._run.record(position, item.id, kept=[found])
            finally:
                part.unlink(missing_ok=True)
            self._bar.update()

    async def _one(self, item: Item, part: Path, downloader: Downloader) -> Found:
        """The picture from the first place that has it. Raises PictureError and OSError."""
        if item.path is not None:
            async with self._decoding:
                return await asyncio.to_thread(self._copied, item, item.path, part)
        refusals: list[RefusedError] = []
        unreachable: list[UnreachableError] = []
        for url in item.urls:
            try:
                return await self._at(url, item, part, downloader)
            except RefusedError as error:
                refusals.append(error)
            except UnreachableError as error:
                unreachable.append(error)
        details = "; ".join(str(error) for error in (*unreachable, *refusals))
        if unreachable:
            # That one may have it another time, whatever the others said.
            raise UnreachableError(details)
        raise RefusedError(refusals[0].reason, refusals[0].detail if len(refusals) == 1 else details)

    async def _at(self, url: str, item: Item, part: Path, downloader: Downloader) -> Found:
        for last in (False, True):
            final_url = await downloader.fetch(url, part)
            try:
                async with self._decoding:
                    return await asyncio.to_thread(self._taken_in, item, part, final_url)
            except RefusedError as error:
                # Cut off on the way, where nobody had said how long it would be? Then once more.
                if last or error.reason is not Reason.DAMAGED:
                    raise RefusedError(error.reason, f"{final_url}: {error.detail}") from error
        raise AssertionError("the second time is the last")

    def _copied(self, item: Item, path: Path, part: Path) -> Found:
        try:
            size_bytes = path.stat().st_size
            source = path.open("rb")
        except OSError as error:
            raise RefusedError(Reason.UNREADABLE, error.strerror or str(error)) from error
        with source, part.open("wb") as copy:
            if size_bytes > self._settings.max_bytes:
                raise RefusedError(Reason.TOO_MANY_BYTES, f"{size_bytes} bytes")
            shutil.copyfileobj(source, copy)
        return self._taken_in(item, part, "")

    def _taken_in(self, item: Item, part: Path, url: str) -> Found:
        """Checks a file, and gives it its place among the pictures."""
        picture = inspect(part, self._limits)
        place = self._folder / PICTURES / picture.sha256[:2] / picture.file_name
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # before the journal says that it is there
        part.replace(place)
        return Found(
            id=item.id,
            origin=item.origin,
            path=place.relative_to(self._folder).as_posix(),
            width=picture.width,
            height=picture.height,
            sha256=picture.sha256,
            perceptual_hash=picture.perceptual_hash,
            format=picture.format,
            bytes=picture.bytes,
            url=url,
        )
