"""Pictures for `ocr`: downloaded politely, or taken from folders, each checked and none of them twice.

    stage               run: inputs to rows and files, resumable
    ├── sources         what there is to fetch
    ├── fetching        all of it, many at a time
    │   ├── download    a URL's bytes to a file, with retries, redirects and limits
    │   │   ├── hosts       whose turn it is with a host, and how long it wants to be left alone
    │   │   └── addresses   connections to public addresses only
    │   └── picture     a file of unknown bytes to a checked picture with its hashes
    │       └── placeholders    what hosts show in place of a deleted picture
    └── choice          which of them are kept
        └── duplicates  the best of each group of copies

Importing this package loads neither httpx nor Pillow.
"""

from data_pipeline.images.settings import ImagesSettings
from data_pipeline.images.stage import run

__all__ = ["ImagesSettings", "run"]
