"""Who somebody is: names, the password, sessions that can be ended, and the token that proves a request is the page's.

The cookie is signed with the folder's secret and holds a random number; what it stands for is in the database, so that
signing out, or another password, ends it wherever it was copied to.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
import unicodedata
from collections import deque
from typing import TYPE_CHECKING, Final

from werkzeug.security import check_password_hash, generate_password_hash

from data_pipeline.curation.errors import BadRequestError, TooManyTriesError, WrongPasswordError
from data_pipeline.curation.states import IMPORT
from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from data_pipeline.curation.database import Database

SECRET_FILE: Final = "secret"
SECRET_BYTES: Final = 32
MAX_NAME_CHARACTERS: Final = 40
MIN_PASSWORD_CHARACTERS: Final = 8
SESSION_S: Final = 30 * 24 * 3600.0
TRIES: Final = 5
TRIES_OF_ALL: Final = 50
TRIES_WITHIN_S: Final = 300.0


def secret_of(folder: Path) -> bytes:
    """The folder's secret, made where it is missing; only its owner may read it.

    Raises:
        StageError: The file is no secret of ours.
        OSError: It cannot be read or written.
    """
    path = folder / SECRET_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(descriptor)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        secret = file.read(SECRET_BYTES + 1)
        os.fchmod(descriptor, 0o600)
    if len(secret) != SECRET_BYTES:
        raise StageError(f"{path} is damaged: delete it; everybody has to sign in again")
    return secret


def name_of(said: str) -> str:
    """A person's name.

    Raises:
        BadRequestError: It is empty, too long, has characters that cannot be seen, or is the import's.
    """
    name = " ".join(unicodedata.normalize("NFC", said).split())
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise BadRequestError(f"Give a name of 1 to {MAX_NAME_CHARACTERS} characters.")
    if any(unicodedata.category(character).startswith("C") for character in name):
        raise BadRequestError("Give a name without control characters.")
    if name.casefold() == IMPORT:
        raise BadRequestError(f"{name} is what imports go by: give another name.")
    return name


class Password:
    """The password, as a scrypt hash; None of it is kept in the clear."""

    def __init__(self, password: str, secret: bytes) -> None:
        """Raises StageError for one that is too short."""
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise StageError(f"the password must have at least {MIN_PASSWORD_CHARACTERS} characters")
        self._hash = generate_password_hash(password, method="scrypt")
        self._checking = threading.Semaphore(2)  # each takes 32 MiB for a moment
        self.mark = hashlib.scrypt(password.encode(), salt=secret, n=2**15, r=8, p=1, maxmem=2**26).hex()
        """Changes when the password does."""

    def check(self, said: str | None) -> None:
        """Raises WrongPasswordError."""
        with self._checking:
            if not check_password_hash(self._hash, said or ""):
                raise WrongPasswordError("The password is another: try again.")


class Tries:
    """Counts passwords that were wrong, by address and in all."""

    def __init__(self) -> None:
        self._failed: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Raises TooManyTriesError while there were too many lately."""
        now_s = time.monotonic()
        with self._lock:
            self._forget(now_s)
            own = self._failed.get(address, deque())
            everybody = sum(len(times) for times in self._failed.values())
            if len(own) < TRIES and everybody < TRIES_OF_ALL:
                return
            oldest = own[0] if len(own) >= TRIES else min(times[0] for times in self._failed.values())
            wait_s = max(1, round(oldest + TRIES_WITHIN_S - now_s))
        raise TooManyTriesError(f"Too many wrong passwords: wait {wait_s} s and try again.", retry_after_s=wait_s)

    def failed(self, address: str) -> None:
        """Counts one."""
        with self._lock:
            self._failed.setdefault(address, deque()).append(time.monotonic())

    def succeeded(self, address: str) -> None:
        """Forgets those of an address."""
        with self._lock:
            self._failed.pop(address, None)

    def _forget(self, now_s: float) -> None:
        for address, times in list(self._failed.items()):
            while times and times[0] <= now_s - TRIES_WITHIN_S:
                times.popleft()
            if not times:
                del self._failed[address]


class Sessions:
    """Who is signed in."""

    def __init__(self, database: Database, password_mark: str) -> None:
        self._database = database
        self._mark = password_mark

    def begin(self, person: str) -> str:
        """A new session; answers what its cookie holds. Raises StoreBusyError."""
        token = secrets.token_urlsafe(32)
        now_s = time.time()
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE until_s < ?", (now_s,))
            connection.execute(
                "INSERT INTO sessions (id, person, password_mark, until_s) VALUES (?, ?, ?, ?)",
                (_digest(token), person, self._mark, now_s + SESSION_S),
            )
        return token

    def person(self, token: str) -> str | None:
        """Whose session it is; None where it has ended. Raises StoreBusyError."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT person FROM sessions WHERE id = ? AND password_mark = ? AND until_s > ?",
                (_digest(token), self._mark, time.time()),
            ).fetchone()
        return None if found is None else str(found["person"])

    def end(self, token: str) -> None:
        """Ends one. Raises StoreBusyError."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE id = ?", (_digest(token),))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
