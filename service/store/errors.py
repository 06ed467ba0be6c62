"""What the store refuses, and why.

    StoreError
    ├── StoreConfigError         the database's URL cannot be used; who runs the service must change it
    ├── StoreOffError            nothing is kept here
    ├── StoreUnavailableError    the database is away; the same may succeed later
    │   └── SchemaTooNewError    it was written by a newer version of this program
    ├── StoreFullError           the queue is full, or closed since the service stops
    ├── RowRefusedError          the database would never take this row
    └── CursorError              a cursor that no page gave

No message holds a password, or what a row holds.
"""


class StoreError(Exception):
    """Any of these."""


class StoreConfigError(StoreError, ValueError):
    """The database's URL cannot be used."""


class StoreOffError(StoreError):
    """Nothing is kept here: by setting, or because the data folder cannot be written."""


class StoreUnavailableError(StoreError):
    """The database is away, too slow, or not as it should be. The message tells who runs the service why."""


class SchemaTooNewError(StoreUnavailableError):
    """The database was written by a newer version of this program."""


class StoreFullError(StoreError):
    """What was handed in was not taken."""


class RowRefusedError(StoreError):
    """The database refuses a row for what it holds; to try again would be no use."""


class CursorError(StoreError, ValueError):
    """A cursor that no page gave."""
