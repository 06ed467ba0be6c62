"""`python -m service.store`: what is done to a database besides serving.

export    write rated texts for the curation app
migrate   bring the database to the schema that this program knows
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL

from service.store.database import Database, parse_url
from service.store.errors import StoreError
from service.store.export import export_ratings
from service.store.migrate import migrate

VARIABLE = "GREENTEXT_DATABASE_URL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; answers the exit status."""
    parser = argparse.ArgumentParser(prog="python -m service.store", description="Work on the service's database.")
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write rated texts for the curation app, one JSON object a line")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    upgrade = commands.add_parser("migrate", help="bring the database to the schema that this program knows")
    for command in (export, upgrade):
        command.add_argument(
            "--database",
            metavar="URL",
            help=f"sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; unset, {VARIABLE}, which other people on "
            "this machine cannot read",
        )
    given = parser.parse_args(arguments)
    url = given.database or os.environ.get(VARIABLE)
    if not url:
        parser.error(f"give --database, or set {VARIABLE}")
    try:
        database = Database(_location(url, must_exist=given.command == "export"))
        try:
            migrate(database)
            if given.command == "export":
                done = export_ratings(database, given.out)
                left_out = f", left out {done.undecided} that are undecided" if done.undecided else ""
                sys.stderr.write(f"wrote {done.good} good and {done.bad} bad texts to {given.out}{left_out}\n")
            else:
                sys.stderr.write(f"{database.place} is up to date\n")
        finally:
            database.close()
    except (StoreError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


def _location(text: str, *, must_exist: bool) -> URL:
    """Raises StoreConfigError, and StoreError for a file that is not there: SQLite would make an empty one."""
    url = parse_url(text)
    if must_exist and url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise StoreError(f"{url.database} is not there; is the path right?")
    return url


if __name__ == "__main__":
    sys.exit(main())
