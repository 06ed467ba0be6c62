"""When its session last changed whether a text is shared: of two changes that wait, the later one is to hold."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the column: null, for so far nothing could be changed."""
    op.add_column("generations", sa.Column("shared_changed_s", sa.Double))
