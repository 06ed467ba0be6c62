"""What a stage raises where it cannot go on. Every message says what to do.

    StageError
    ├── FolderInUseError     another process works in the folder
    ├── ForeignFolderError   the folder holds files, and no stage wrote them
    ├── OtherSettingsError   the folder was made from other inputs or settings
    └── JournalError         the journal is damaged in its midst

Beside these there is only `OSError`: a full disk, a folder that cannot be written.
"""


class StageError(Exception):
    """A stage cannot run; the message says what to do."""


class FolderInUseError(StageError):
    """Another process works in the folder."""


class ForeignFolderError(StageError):
    """The folder holds files, and no stage wrote them: nothing is written there, and nothing removed."""


class OtherSettingsError(StageError):
    """The folder was made from other inputs or settings."""


class JournalError(StageError):
    """The journal is damaged in its midst."""
