"""``python -m data_pipeline.rendered FOLDER``: writes a set of pages with their truths."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_pipeline.rendered import FontsMissingError, page_specs, read_stories, write_testset


def main() -> int:
    """Writes a set and returns the exit code: 0 done, 1 it could not be done, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m data_pipeline.rendered", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pages go")
    parser.add_argument(
        "--stories", type=Path, default=Path("data/greentexts/starter.jsonl"), help="JSON Lines with text"
    )
    parser.add_argument("--pages", type=int, default=192, help="how many; all combinations come up after 24")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        specs = page_specs(read_stories(options.stories), options.pages, options.seed)
        count = write_testset(specs, options.folder)
    except (FontsMissingError, OSError, ValueError) as error:
        print(f"rendered: {error}", file=sys.stderr)
        return 1
    print(f"{count} pages in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
