"""Generations, ratings and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("last_seen_s", sa.Double, nullable=False),
    )
    op.create_index("ix_sessions_last_seen", "sessions", ["last_seen_s"])
    op.create_table(
        "generations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("prompt", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("sampling", sa.JSON(none_as_null=True)),
        sa.Column("finish_reason", sa.String(16), nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("queue_s", sa.Double, nullable=False),
        sa.Column("prefill_s", sa.Double, nullable=False),
        sa.Column("decode_s", sa.Double, nullable=False),
        sa.Column("total_s", sa.Double, nullable=False),
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.id", ondelete="SET NULL")),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("deleted_s", sa.Double),
    )
    op.create_index("ix_generations_created", "generations", ["created_s", "id"])
    op.create_index("ix_generations_session", "generations", ["session_id"])
    is_deleted = sa.text("deleted_s IS NOT NULL")
    op.create_index(
        "ix_generations_deleted", "generations", ["deleted_s"], sqlite_where=is_deleted, postgresql_where=is_deleted
    )
    op.create_table(
        "ratings",
        sa.Column("generation_id", sa.String(64), sa.ForeignKey("generations.id", ondelete="CASCADE")),
        sa.Column("session_id", sa.String(64), sa.ForeignKey("sessions.id", ondelete="CASCADE")),
        sa.Column("rating", sa.String(4), nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "session_id"),
        sa.CheckConstraint("rating IN ('good', 'bad')", name="ck_ratings_rating"),
    )
    op.create_index("ix_ratings_session", "ratings", ["session_id"])
