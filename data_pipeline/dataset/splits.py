"""Which split a text is in: a matter of its letters, of its near duplicates, and of where it was before.

Near duplicates never straddle splits. A text's own letters choose its split by a hash, and a cluster of near duplicates
goes where its most exposed member goes: to train if any member goes there, else to validation if any does. So nothing
depends on the order of texts or on chance, and as texts are added, one can leave the test split (when a near duplicate
of it turns up that goes to train) but none leaves train.

Where earlier assignments are given, none of theirs changes: newcomers go with the near duplicates that are known, and
one that would join two splits goes to neither.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from data_pipeline.dataset.rows import Split
from data_pipeline.filters.duplicates import clusters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EXPOSED: Final = (Split.TRAIN, Split.VALIDATION, Split.TEST)
"""The most exposed first."""


def letters_of(text: str) -> str:
    """What of a text counts here: case, spaces and marks do not."""
    return "".join(filter(str.isalnum, text.lower()))


def split_of(text: str, *, validation: float, test: float) -> Split:
    """The split that a text's letters choose; shares are of 1. The same formula as training's, on purpose."""
    digest = hashlib.sha256(letters_of(text).encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test:
        return Split.TEST
    return Split.VALIDATION if place < test + validation else Split.TRAIN


def cluster_names(texts: Sequence[str], cluster_of: Sequence[int]) -> list[str]:
    """For each text its cluster's name, a hash of one member's letters: free of the texts' order."""
    hashes = [hashlib.sha256(letters_of(text).encode()).hexdigest()[:16] for text in texts]
    lowest: dict[int, str] = {}
    for cluster, name in zip(cluster_of, hashes, strict=True):
        lowest[cluster] = min(name, lowest.get(cluster, name))
    return [lowest[cluster] for cluster in cluster_of]


def assign(
    texts: Sequence[str],
    cluster_of: Sequence[int],
    *,
    validation: float,
    test: float,
    known: Mapping[str, Split],
    threshold: float,
) -> list[Split | None]:
    """Each text's split; None for one that would join two splits.

    Args:
        texts: All texts that count, those of `known` among them as far as they are still there or still matter.
        cluster_of: For each a number that near duplicates share.
        validation: Share of 1.
        test: Share of 1.
        known: The splits of texts that have one already, by text.
        threshold: What `cluster_of` was made with.
    """
    splits: list[Split | None] = [None] * len(texts)
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(cluster_of):
        members[cluster].append(index)
    for indices in members.values():
        settled = {index: known[texts[index]] for index in indices if texts[index] in known}
        places = set(settled.values())
        if len(places) > 1:
            _keep_apart(settled, texts, threshold, splits)
            continue
        together = places or {split_of(texts[index], validation=validation, test=test) for index in indices}
        split = _most_exposed(together)
        for index in indices:
            splits[index] = split
    return splits


def _keep_apart(
    settled: Mapping[int, Split], texts: Sequence[str], threshold: float, splits: list[Split | None]
) -> None:
    """Settled members of different splits, linked by newcomers, which stay out.

    Those that are near duplicates even so (an older threshold was higher) cannot all stay; the test split's do, for a
    text is easier to spare where there are many.
    """
    indices = list(settled)
    again: dict[int, list[int]] = defaultdict(list)
    for index, cluster in zip(indices, clusters([texts[index] for index in indices], threshold), strict=True):
        again[cluster].append(index)
    for linked in again.values():
        split = _least_exposed(settled[index] for index in linked)
        for index in linked:
            if settled[index] is split:
                splits[index] = split


def _most_exposed(splits: Iterable[Split]) -> Split:
    return min(splits, key=EXPOSED.index)


def _least_exposed(splits: Iterable[Split]) -> Split:
    return max(splits, key=EXPOSED.index)
