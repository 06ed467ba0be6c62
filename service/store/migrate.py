"""Brings a database to the schema that this program knows, step by step, with Alembic.

Several processes may try at the same time: one does it, under a lock, in one transaction; the others find it done.
There is no way back: a program that meets a newer schema than it knows refuses it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from service.store.database import MIGRATION_TIMEOUT_S
from service.store.errors import SchemaTooNewError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from service.store.database import Database

FOLDER: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "greentext_schema"
LOCK_KEY: Final = 0x67_72_65_65_6E_74_65_78
"""An arbitrary number, the same in all processes ("greentex")."""

# Alembic keeps the migration that runs in a global variable.
_one_at_a_time: Final = threading.Lock()

logger = logging.getLogger(__name__)
# It says at each look which database it is that it looks at.
logging.getLogger("alembic").setLevel(logging.WARNING)


def scripts() -> ScriptDirectory:
    """The migrations that come with this program."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def migrate(database: Database, *, to: str = "head") -> None:
    """Brings a database to a revision; the newest, unless another is named.

    Raises:
        SchemaTooNewError: It is of a revision that this program does not know.
        StoreUnavailableError: The database is away.
    """
    directory = scripts()
    with database.reading() as connection:
        if _is_there(directory, connection, to):
            return
    with _one_at_a_time, database.writing(timeout_s=MIGRATION_TIMEOUT_S) as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        if _is_there(directory, connection, to):
            return

        def steps(revision: Any, _context: MigrationContext) -> Any:
            return directory._upgrade_revs(to, revision)  # noqa: SLF001 - as alembic.command.upgrade does

        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "fn": steps})
        with Operations.context(context):
            context.run_migrations()
        logger.info("%s has the schema %s now", database.place, context.get_current_revision())


def _is_there(directory: ScriptDirectory, connection: Connection, to: str) -> bool:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision()
    if current is not None:
        try:
            directory.get_revision(current)
        except CommandError:
            raise SchemaTooNewError(
                f"the database has the schema {current}, and this program knows {directory.get_current_head()} at "
                "most: update the service, or give it another database (GREENTEXT_DATABASE_URL)"
            ) from None
    return current == (directory.get_current_head() if to == "head" else to)
