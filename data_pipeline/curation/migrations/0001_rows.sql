-- What every installation has. Times are Unix seconds.

CREATE TABLE store (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What lists show and filter by; all of it is computed when a text changes, never when it is read.
CREATE TABLE rows (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    key           TEXT    NOT NULL UNIQUE,          -- TextRow.id
    source        TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    theme         TEXT    NOT NULL,
    origin        TEXT    NOT NULL,
    image         TEXT    NOT NULL DEFAULT '',      -- a name in images/, made by us
    queue         TEXT    NOT NULL CHECK (queue IN ('todo', 'accepted', 'rejected', 'skipped')),
    genre         TEXT    NOT NULL DEFAULT '',
    genre_given   INTEGER NOT NULL DEFAULT 0,       -- by a person; else it follows the text
    reason        TEXT    NOT NULL DEFAULT '',
    note          TEXT    NOT NULL DEFAULT '',
    version       INTEGER NOT NULL DEFAULT 0,       -- of the newest entry in versions
    state_version INTEGER NOT NULL DEFAULT 0,       -- of the newest that changed the row
    touched       INTEGER NOT NULL DEFAULT 0,       -- a person has changed it
    imported_at_s REAL    NOT NULL,
    changed_at_s  REAL    NOT NULL,
    excerpt       TEXT    NOT NULL,
    lines         INTEGER NOT NULL,
    confidence    REAL,                             -- of the least certain line
    warnings      TEXT    NOT NULL,                 -- JSON: categories
    problems      INTEGER NOT NULL
) STRICT;

CREATE INDEX rows_by_import ON rows (queue, id);
CREATE INDEX rows_by_confidence ON rows (queue, coalesce(confidence, 2.0), id);
CREATE INDEX rows_by_change ON rows (queue, changed_at_s, id);
CREATE INDEX all_rows_by_confidence ON rows (coalesce(confidence, 2.0), id);
CREATE INDEX all_rows_by_change ON rows (changed_at_s, id);

-- What only an open row shows; apart, so that lists read few pages.
CREATE TABLE row_texts (
    row_id               INTEGER PRIMARY KEY REFERENCES rows (id),
    text                 TEXT NOT NULL,
    imported_text        TEXT NOT NULL,
    raw_text             TEXT NOT NULL,
    imported_confidences TEXT NOT NULL,             -- JSON: one for each line of imported_text, or none
    line_confidences     TEXT NOT NULL,             -- JSON: one for each line of text, or none
    warning_details      TEXT NOT NULL,             -- JSON
    unknown_words        TEXT NOT NULL,             -- JSON
    problem_details      TEXT NOT NULL,             -- JSON
    import_sha256        TEXT NOT NULL,             -- of the newest import of this row
    source_fields        TEXT NOT NULL              -- JSON: as the original app's db.json had it, else ''
) STRICT;

-- Everything that ever happened to a row. Each entry has the whole state, so that any can be gone back to.
CREATE TABLE versions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    row_id      INTEGER NOT NULL REFERENCES rows (id),
    version     INTEGER NOT NULL,
    at_s        REAL    NOT NULL,
    person      TEXT    NOT NULL,
    action      TEXT    NOT NULL CHECK (action IN
        ('import', 'newer_import', 'accept', 'reject', 'skip', 'reopen', 'save', 'undo')),
    text        TEXT    NOT NULL,
    queue       TEXT    NOT NULL,
    genre       TEXT    NOT NULL,
    genre_given INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    note        TEXT    NOT NULL,
    undoes      INTEGER REFERENCES versions (id),
    UNIQUE (row_id, version)
) STRICT;

CREATE INDEX decisions_by_person ON versions (person, at_s) WHERE action IN ('accept', 'reject', 'skip');
CREATE UNIQUE INDEX versions_undone ON versions (undoes) WHERE undoes IS NOT NULL;

CREATE TRIGGER versions_are_never_changed BEFORE UPDATE ON versions
BEGIN
    SELECT RAISE(ABORT, 'versions only grow');
END;

CREATE TRIGGER versions_are_never_removed BEFORE DELETE ON versions
BEGIN
    SELECT RAISE(ABORT, 'versions only grow');
END;

-- A person's decisions that can still be taken back.
CREATE TABLE undo_steps (
    version_id INTEGER PRIMARY KEY REFERENCES versions (id),
    person     TEXT NOT NULL
) STRICT;

CREATE INDEX undo_steps_by_person ON undo_steps (person, version_id);

-- What a request was answered, so that its repetition changes nothing.
CREATE TABLE answers (
    person     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at_s       REAL NOT NULL,
    answer     TEXT NOT NULL,                       -- JSON
    PRIMARY KEY (person, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_age ON answers (at_s);

CREATE TABLE leases (
    row_id  INTEGER PRIMARY KEY REFERENCES rows (id),
    person  TEXT NOT NULL,
    tab     TEXT NOT NULL,
    until_s REAL NOT NULL
) STRICT;

CREATE TABLE drafts (
    row_id     INTEGER NOT NULL REFERENCES rows (id),
    person     TEXT    NOT NULL,
    tab        TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    saved_at_s REAL    NOT NULL,
    PRIMARY KEY (row_id, person)
) STRICT, WITHOUT ROWID;

-- Drafts that another tab wrote over, or that were thrown away: nothing typed is lost.
CREATE TABLE drafts_set_aside (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    row_id     INTEGER NOT NULL REFERENCES rows (id),
    person     TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    saved_at_s REAL    NOT NULL
) STRICT;

CREATE INDEX drafts_set_aside_by_row ON drafts_set_aside (row_id, person);

CREATE TABLE sessions (
    id            TEXT PRIMARY KEY,                 -- SHA-256 of what the cookie holds
    person        TEXT NOT NULL,
    password_mark TEXT NOT NULL,                    -- changes with the password, which ends the session
    until_s       REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Names of files in images/, by what they hold.
CREATE TABLE images (
    name   TEXT PRIMARY KEY,
    width  INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
