"""Who may review: accounts with a token that is shown once, and log-ins by cookie. Only hashes are kept.

Tokens and cookies are 256 random bits, so one round of SHA-256 keeps them as safe as a slow hash keeps a password.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from joshi.errors import JoshiError
from joshi.review.log import Who, moment
from joshi.review.store import ATTEMPTS, LOCKS, LOGINS, REVIEWERS, secret
from joshi.workspace import sha256_text

Role = Literal["annotator", "specialist", "auditor"]
TOKEN_BYTES = 32
WINDOW = timedelta(minutes=1)
MOST_FAILURES = 10  # of one address within WINDOW
MOST_FAILURES_ANYWHERE = 100
_NAME = re.compile(r"[\w][\w .'@-]{0,63}")


class TooManyAttempts(JoshiError):  # noqa: N818 - it describes the caller
    """Log-ins failed too often; the next try must wait for a minute."""


@dataclass(frozen=True)
class Account:
    name: str
    role: Role
    created_at: str
    removed_at: str | None


def add(connection: Connection, name: str, role: str, at: datetime) -> str:
    """Make an account, or give one that was removed a new token and role; the token, which is kept nowhere.

    Raises:
        JoshiError: the name or the role will not do, or somebody of that name is a reviewer already.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise JoshiError(f"{name!r} is no name for a reviewer; use up to 64 letters, digits, spaces and . ' @ - _")
    if role not in get_args(Role):
        raise JoshiError(f"{role!r} is no role; there are {', '.join(get_args(Role))}")
    known = next((one for one in accounts(connection) if one.name.casefold() == name.casefold()), None)
    if known is not None and known.removed_at is None:
        raise JoshiError(
            f"{known.name} is a reviewer already ({known.role}); for a new token run 'joshi review remove-reviewer "
            f"{known.name}' first"
        )
    if known is not None and known.name != name:
        raise JoshiError(
            f"{known.name} was a reviewer and differs from {name} in capitals alone; use the name as it was"
        )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    values = {"role": role, "token_sha256": sha256_text(token), "created_at": moment(at), "removed_at": None}
    if known is None:
        connection.execute(insert(REVIEWERS).values(name=name, **values))
    else:
        connection.execute(update(REVIEWERS).where(REVIEWERS.c.name == name).values(values))
    return token


def remove(connection: Connection, name: str, at: datetime) -> None:
    """Close an account: its token, log-ins and locks end; its decisions stay.

    Raises:
        JoshiError: nobody of that name is a reviewer.
    """
    if not any(one.name == name and one.removed_at is None for one in accounts(connection)):
        raise JoshiError(f"nobody called {name!r} is a reviewer; 'joshi review list-reviewers' names them")
    connection.execute(
        update(REVIEWERS)
        .where(REVIEWERS.c.name == name)
        .values(removed_at=moment(at), token_sha256=sha256_text(secrets.token_urlsafe(TOKEN_BYTES)))
    )
    connection.execute(delete(LOGINS).where(LOGINS.c.reviewer == name))
    connection.execute(delete(LOCKS).where(LOCKS.c.reviewer == name))


def accounts(connection: Connection) -> list[Account]:
    """All accounts by name, removed ones too."""
    columns = [REVIEWERS.c[name] for name in Account.__dataclass_fields__]
    return [Account(**row._mapping) for row in connection.execute(select(*columns).order_by(REVIEWERS.c.name))]


def refuse_too_many(connection: Connection, address: str, at: datetime) -> None:
    """Raises:
    TooManyAttempts: this address, or all together, failed too often in the last minute.
    """
    since = ATTEMPTS.c.at > moment(at - WINDOW)
    tries = select(func.count()).select_from(ATTEMPTS).where(since)
    here = connection.scalar(tries.where(ATTEMPTS.c.address == address)) or 0
    if here >= MOST_FAILURES or (connection.scalar(tries) or 0) >= MOST_FAILURES_ANYWHERE:
        raise TooManyAttempts("too many log-ins failed; wait a minute and try again")


def log_in(connection: Connection, token: str, hours: float, address: str, at: datetime) -> str | None:
    """The secret of a new cookie, or None, which is counted, if no reviewer has this token.

    Raises:
        TooManyAttempts: see `refuse_too_many`.
    """
    refuse_too_many(connection, address, at)
    name = connection.scalar(
        select(REVIEWERS.c.name).where(
            REVIEWERS.c.token_sha256 == sha256_text(token.strip()), REVIEWERS.c.removed_at.is_(None)
        )
    )
    connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.at <= moment(at - WINDOW)))
    if name is None:
        connection.execute(insert(ATTEMPTS).values(address=address, at=moment(at)))
        return None
    connection.execute(delete(LOGINS).where(LOGINS.c.until <= moment(at)))
    cookie = secrets.token_urlsafe(TOKEN_BYTES)
    until = moment(at + timedelta(hours=hours))
    connection.execute(
        insert(LOGINS).values(cookie_sha256=sha256_text(cookie), reviewer=name, at=moment(at), until=until)
    )
    return cookie


def who(connection: Connection, cookie: str, at: datetime) -> Who | None:
    """Whose cookie this is; None if the log-in ended."""
    row = connection.execute(
        select(REVIEWERS.c.name, REVIEWERS.c.role, LOGINS.c.number)
        .join(LOGINS, LOGINS.c.reviewer == REVIEWERS.c.name)
        .where(
            LOGINS.c.cookie_sha256 == sha256_text(cookie),
            LOGINS.c.until > moment(at),
            REVIEWERS.c.removed_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else Who(row.name, row.role, row.number)


def log_out(connection: Connection, cookie: str, who: Who) -> None:
    """End a log-in; what the reviewer held is free for others, what was typed stays for the next log-in."""
    connection.execute(delete(LOGINS).where(LOGINS.c.cookie_sha256 == sha256_text(cookie)))
    connection.execute(delete(LOCKS).where(LOCKS.c.reviewer == who.name))


def form_key(connection: Connection) -> str:
    """The secret that `form_token` signs with; made in a writing transaction."""
    return secret(connection, "form key")


def form_token(key: str, name: str) -> str:
    """What a form must carry to be a reviewer's own. It outlives a log-in, so that text typed before it ended can
    be sent after the next one.
    """
    return hmac.digest(key.encode(), f"form:{name}".encode(), "sha256").hex()
