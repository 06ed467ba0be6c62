"""The board: what the content policy says of a text, its ratings added up, and the order that they give.

Texts that are there already are judged and counted.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

from greentext.content import judge
from service.store.wilson import lower_bound

revision = "0002"
down_revision = "0001"

BATCH_ROWS: Final = 500

generations: Final = sa.table(
    "generations",
    sa.column("id", sa.String),
    sa.column("text", sa.Text),
    sa.column("shared", sa.Boolean),
    sa.column("deleted_s", sa.Double),
    sa.column("findings", sa.JSON),
    sa.column("on_board", sa.Boolean),
    sa.column("good", sa.Integer),
    sa.column("bad", sa.Integer),
    sa.column("score", sa.Double),
)
ratings: Final = sa.table("ratings", sa.column("generation_id", sa.String), sa.column("rating", sa.String))


def upgrade() -> None:
    """Adds the columns and fills them."""
    op.add_column("generations", sa.Column("findings", sa.JSON(none_as_null=True)))
    op.add_column("generations", sa.Column("on_board", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("generations", sa.Column("good", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("generations", sa.Column("bad", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("generations", sa.Column("score", sa.Double, nullable=False, server_default=sa.text("0")))
    _judge_shared()
    _count_ratings()
    for name, columns in (
        ("ix_generations_board_recent", ["created_s", "id"]),
        ("ix_generations_board_best", ["score", "created_s", "id"]),
    ):
        # SQLite uses such an index only for queries that spell its condition the same way.
        op.create_index(
            name,
            "generations",
            columns,
            sqlite_where=sa.text("on_board = 1"),
            postgresql_where=sa.text("on_board"),
        )


def _judge_shared() -> None:
    connection = op.get_bind()
    shared = (
        sa.select(generations.c.id, generations.c.text)
        .where(generations.c.shared, generations.c.deleted_s.is_(None))
        .order_by(generations.c.id)
        .limit(BATCH_ROWS)
    )
    last = ""
    while rows := connection.execute(shared.where(generations.c.id > last)).all():
        for row in rows:
            findings = sorted({finding.category.value for finding in judge(row.text)})
            on_board = not findings and bool(row.text.strip())
            connection.execute(
                generations.update().where(generations.c.id == row.id).values(findings=findings, on_board=on_board)
            )
        last = rows[-1].id


def _count_ratings() -> None:
    connection = op.get_bind()

    def count(rating: str) -> sa.ColumnElement[int]:
        return sa.func.count().filter(ratings.c.rating == rating)

    counted = (
        sa.select(ratings.c.generation_id, count("good").label("good"), count("bad").label("bad"))
        .group_by(ratings.c.generation_id)
        .order_by(ratings.c.generation_id)
        .limit(BATCH_ROWS)
    )
    last = ""
    while rows := connection.execute(counted.where(ratings.c.generation_id > last)).all():
        for row in rows:
            connection.execute(
                generations.update()
                .where(generations.c.id == row.generation_id)
                .values(good=row.good, bad=row.bad, score=lower_bound(row.good, row.bad))
            )
        last = rows[-1].generation_id
