"""The tables, as the newest migration leaves them. `tests/service/store/test_migrations.py` holds the two together."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

ID_CHARACTERS: Final = 64
NAME_CHARACTERS: Final = 128

metadata: Final = MetaData()

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", String(ID_CHARACTERS), primary_key=True),
    Column("created_s", Double, nullable=False),
    Column("last_seen_s", Double, nullable=False),
    Index("ix_sessions_last_seen", "last_seen_s"),
)

generations: Final = Table(
    "generations",
    metadata,
    Column("id", String(ID_CHARACTERS), primary_key=True),
    Column("created_s", Double, nullable=False),
    Column("model", String(NAME_CHARACTERS), nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("prompt", Text),
    Column("text", Text, nullable=False),
    Column("seed", BigInteger),
    Column("sampling", JSON(none_as_null=True)),
    Column("finish_reason", String(16), nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("queue_s", Double, nullable=False),
    Column("prefill_s", Double, nullable=False),
    Column("decode_s", Double, nullable=False),
    Column("total_s", Double, nullable=False),
    Column("session_id", String(ID_CHARACTERS), ForeignKey("sessions.id", ondelete="SET NULL")),
    Column("shared", Boolean, nullable=False),
    # When its session last changed `shared`; null, if never: changes that wait may be saved in another order.
    Column("shared_changed_s", Double),
    Column("deleted_s", Double),
    # What the content policy found: a list of categories, null where nobody needed to know.
    Column("findings", JSON(none_as_null=True)),
    Column("on_board", Boolean, nullable=False, server_default=false()),
    # Of the ratings, kept with each: a page of the best is read from an index.
    Column("good", Integer, nullable=False, server_default=text("0")),
    Column("bad", Integer, nullable=False, server_default=text("0")),
    Column("score", Double, nullable=False, server_default=text("0")),
    Index("ix_generations_created", "created_s", "id"),
    Index("ix_generations_session", "session_id"),
)

ratings: Final = Table(
    "ratings",
    metadata,
    Column("generation_id", String(ID_CHARACTERS), ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
    Column("session_id", String(ID_CHARACTERS), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("rating", String(4), CheckConstraint("rating IN ('good', 'bad')", name="ck_ratings_rating"), nullable=False),
    Column("created_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    Index("ix_ratings_session", "session_id"),
)

# Only what is on the board, or deleted, is in these: the rest costs them nothing. SQLite uses one only for queries that
# spell its condition the same way.
Index(
    "ix_generations_board_recent",
    generations.c.created_s,
    generations.c.id,
    sqlite_where=text("on_board = 1"),
    postgresql_where=text("on_board"),
)
Index(
    "ix_generations_board_best",
    generations.c.score,
    generations.c.created_s,
    generations.c.id,
    sqlite_where=text("on_board = 1"),
    postgresql_where=text("on_board"),
)
Index(
    "ix_generations_deleted",
    generations.c.deleted_s,
    sqlite_where=generations.c.deleted_s.is_not(None),
    postgresql_where=generations.c.deleted_s.is_not(None),
)
