"""What the stage `images` can be told."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from data_pipeline.settings import Settings

DEFAULT_DISTANCE: Final = 20
"""Of the 1,024 bits of a picture's perceptual hash; `data_pipeline.images.duplicates` tells how it was chosen."""


class ImagesSettings(Settings):
    """What the stage `images` can be told."""

    # What decides which pictures are kept.
    max_bytes: int = Field(20_000_000, ge=1, description="largest file; larger ones are not read to their end")
    max_pixels: int = Field(25_000_000, ge=1, description="most pixels (width times height), checked before decoding")
    max_side: int = Field(32_768, ge=1, description="longest side in pixels, checked before decoding")
    min_width: int = Field(160, ge=1, description="narrowest picture in pixels that can hold a text")
    min_height: int = Field(40, ge=1, description="lowest picture in pixels that can hold a text")
    near_duplicate_distance: int = Field(
        DEFAULT_DISTANCE,
        ge=-1,
        le=1024,
        description="bits of 1024 in which perceptual hashes of copies may differ; -1 keeps all but equal files",
    )
    placeholders: tuple[str, ...] = Field(
        (),
        description="perceptual hashes of further pictures that stand for deleted ones, as in the field "
        "perceptual_hash of a Screenshot row",
    )

    # How the hosts are treated. A result does not depend on these.
    user_agent: str = Field(
        "wholesome-greentext/0.1 (collects screenshots for a text dataset)",
        min_length=1,
        description="who hosts see; say how you can be reached",
    )
    connections: int = Field(16, ge=1, description="downloads at a time, over all hosts")
    host_connections: int = Field(4, ge=1, description="downloads at a time from one host")
    host_interval_s: float = Field(0.2, ge=0, description="seconds between the beginnings of two downloads of a host")
    tries: int = Field(4, ge=1, description="how often an address is tried that fails for the moment (5xx, 429, reset)")
    backoff_s: float = Field(1.0, ge=0, description="seconds before the second try; doubled each time, and jittered")
    max_wait_s: float = Field(
        300.0, ge=0, description="longest wait in seconds that a host may ask for (Retry-After) before it is given up"
    )
    host_failures: int = Field(
        10, ge=1, description="pictures in a row that fail before a host is given up in this run"
    )
    max_unreachable: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of pictures that may be out of reach; with more the stage stops, to go on when run again",
    )
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds until a connection must stand")
    stall_timeout_s: float = Field(20.0, gt=0, description="seconds without a byte until a download is given up")
    download_timeout_s: float = Field(120.0, gt=0, description="seconds that one download may take")
    max_redirects: int = Field(5, ge=0, description="redirects that are followed")
    private_addresses: bool = Field(
        default=False, description="download from loopback and private addresses too (your own server)"
    )
    use_proxy: bool = Field(
        default=False,
        description="go through the proxy named in HTTPS_PROXY; it then looks names up, so only spelled-out private "
        "addresses are refused",
    )
