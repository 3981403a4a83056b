"""The plan's section [review]: where the review room is served, who must agree, where decisions lie."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, model_validator

# SQLAlchemy's own reading of user:password@, and a password among the options.
PASSWORD_IN_URL = re.compile(r"^[\w+]+://[^:/]*:[^@]+@|\?.*(?:passw(?:or)?d|pwd)(?:=|%3d)", re.I)


class ReviewSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address the review room binds to")
    port: int = Field(8765, ge=1, le=65535, description="port of the review room")
    names: list[str] = Field(
        default_factory=list,
        description="host names by which browsers reach the room, besides host and localhost; others are refused",
    )
    url: str | None = Field(
        None,
        min_length=1,
        description='SQLAlchemy URL of a PostgreSQL database for what is decided; "env:NAME" takes it from an '
        "environment variable; none: .joshi/joshi.db",
    )
    blind_samples: int = Field(30, ge=1, description="answers compared in one blind review, repeats not counted")
    overlap: float = Field(
        0.0, ge=0, le=1, description="share of items that two reviewers judge, each alone; 0: none is judged twice"
    )
    two_person: bool = Field(False, description="a text is approved when two people approved it, its author included")
    lock_minutes: float = Field(20, gt=0, description="how long an item that nobody touches stays with a reviewer")
    session_hours: float = Field(12, gt=0, le=168, description="how long a log-in holds")
    tls_certificate: str | None = Field(None, description="PEM file of the certificate and its chain")
    tls_key: str | None = Field(None, description="PEM file of its private key")

    @model_validator(mode="after")
    def is_sound(self) -> ReviewSection:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; name both, or neither")
        if self.url and not self.url.startswith("env:") and PASSWORD_IN_URL.search(self.url):
            raise ValueError(
                'url holds a password; write url = "env:NAME" and put the URL into the environment variable NAME'
            )
        return self
