"""The plan's sections on what comes after training: the release, its watch, the memory, the tracking of runs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_UNREAD = re.compile(r"https://|http://(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/]|$)")
_VARIABLE = r"^[A-Za-z_]\w*$"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReleaseSection(Section):
    target: Literal["ollama", "embedded"] = Field(
        "ollama", description="where answers are served: an Ollama server, or llama.cpp in Joshi (joshi serve)"
    )
    ollama: str | None = Field(
        None,
        pattern=r"^https?://[^@/\s]+$",
        description="address of the Ollama server; none: what OLLAMA_HOST says, or this machine's",
    )
    oldest_ollama: str = Field(
        "0.17.1",
        pattern=r"^\d+\.\d+\.\d+$",
        description="an older server is refused: before 0.17.1 its reading of a GGUF could give away memory "
        "(CVE-2026-7482)",
    )
    artifact: Literal["gguf", "adapter"] = Field(
        "gguf", description="what Ollama is given: the merged model, or the adapter to put on its own copy of the base"
    )
    host: str = Field("127.0.0.1", description="address that joshi serve binds to")
    port: int = Field(8080, ge=1, le=65535, description="port of joshi serve")
    temperature: float = Field(0.2, ge=0, le=2, description="sampling temperature in production")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus sampling in production")
    num_ctx: int = Field(4096, ge=256, description="context window in production, tokens")
    env_file: str = Field(".env", description="file whose variable names the model in use")
    variable: str = Field("LLM_DEFAULT_MODEL", pattern=_VARIABLE, description="the variable switched")
    also: dict[Annotated[str, Field(pattern=_VARIABLE)], str] = Field(
        default_factory=dict,
        description='further variables to set, with {model} where the name goes: AGENT_MODEL_OVERRIDES = "…{model}…"',
    )
    agents: list[Literal["supplier_interaction", "negotiation"]] = Field(
        ["supplier_interaction", "negotiation"], description="whose questions the smoke test asks"
    )
    agents_json: Literal["free", "schema"] = Field(
        "free",
        description="how the smoke test asks for JSON: free, as the agents do, or with a schema that leaves a model no "
        "other choice",
    )
    keep: int = Field(3, ge=1, description="releases before the one in use whose model file is kept, to go back to")

    @model_validator(mode="after")
    def values_fit_an_env_file(self) -> ReleaseSection:
        for name, text in self.also.items():
            if "'" in text or not text.isprintable():
                raise ValueError(f"also.{name} must be one line without ', as it is written between ' and '")
            if "{model}" not in text:
                raise ValueError(f"also.{name} does not hold {{model}}, so a release would change nothing in it")
            if name == self.variable:
                raise ValueError(f"also.{name} is set already, as variable; leave it out")
        return self

    @property
    def variables(self) -> dict[str, str]:
        """Every variable that is switched, with its text for a model called {model}."""
        return {self.variable: "{model}", **self.also}


class MonitoringSection(Section):
    probes: int = Field(30, ge=1, description="held-out messages that are answered at release and every day")
    draws: int = Field(4, ge=1, le=20, description="answers to each probe every day")
    release_draws: int = Field(8, ge=2, le=50, description="answers to each probe at release")
    production: int = Field(100, ge=1, description="most production answers looked at a day, one a conversation")
    release_production: int = Field(300, ge=2, description="first production answers that later days are held against")
    drift_threshold: float = Field(
        0.10, gt=0, lt=1, description="fall of the mean empathy score that must be found, as a share of the release's"
    )
    retrain_days: int = Field(30, ge=1, description="days after which joshi retrain --if-due trains again")
    deploy: bool = Field(False, description="let joshi retrain deploy what passes the gates; else it stops before that")
    token: str = Field(
        "env:JOSHI_FEEDBACK_TOKEN",
        pattern=r"^env:\w+$",
        description='"env:NAME": the variable with the token that callers of joshi serve --feedback send',
    )
    feedback_port: int = Field(8081, ge=1, le=65535, description="port of joshi serve --feedback")
    webhook: str | None = Field(
        None,
        pattern=r"^(env:\w+|https?://[^@/\s]+(?:/\S*)?)$",
        description='address that drift is told to as JSON; "env:NAME" where it holds a secret',
    )
    mail_to: list[str] = Field(default_factory=list, description="whom drift is told to by e-mail")
    mail_from: str = Field("joshi@localhost", description="sender of those e-mails")
    smtp_host: str = Field("localhost", description="mail server")
    smtp_port: int = Field(25, ge=1, le=65535, description="its port; 465 is TLS from the start, 587 with STARTTLS")
    smtp_login: str | None = Field(
        None, pattern=r"^env:\w+$", description='"env:NAME": the variable with user:password of the mail server'
    )


class MemorySection(Section):
    url: str | None = Field(None, description="address of a Qdrant server; none: embedded in the workspace")
    key: str | None = Field(None, pattern=r"^env:\w+$", description='"env:NAME": the variable with its API key')
    path: str = Field(".joshi/learning", description="folder of the embedded store")
    collection: str = Field("learning", description="name of the collection")

    @model_validator(mode="after")
    def _key_in_secret(self) -> MemorySection:
        if self.key and not (self.url and _UNREAD.match(self.url)):
            raise ValueError(
                f"key would be sent where others can read it ({self.url}); give a url of https://, or of this machine"
            )
        return self


class TrackingSection(Section):
    entity: str = Field("procwise", description="Weights & Biases entity")
    project: str = Field("phi4-humanization", description="Weights & Biases project")
    mode: Literal["offline", "online", "disabled"] = Field(
        "offline", description="offline keeps runs under .joshi/wandb until they are synced"
    )
