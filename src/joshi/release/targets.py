"""Where a release is served: in an Ollama server under its own name and an alias, or by llama.cpp in Joshi."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.errors import GateRefused, PlanError
from joshi.llama import Adapted, Weights, running
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.release import chat
from joshi.release.chat import Ask
from joshi.release.ollama import Server, address, asking, create, require_version, talking
from joshi.release.releases import RELEASE_ID, Release
from joshi.release.smoke import parity_messages
from joshi.workspace import Workspace

BEFORE = "before-joshi"  # the tag under which an alias that was there already is kept


class Target(Protocol):
    """A place that serves releases. Nothing but `point` changes what callers get."""

    def check(self) -> None:
        """Raises Unavailable or JoshiError if the place cannot take a release now."""

    def make(self, release: Release, file: Path, progress: Progress) -> None:
        """Make the release answer under its own name, and check what was made; what is there already stays."""

    def asking(self, release: Release, file: Path) -> AbstractContextManager[Ask]:
        """Questions to this very release."""

    def asking_in_use(self, release: Release, file: Path) -> AbstractContextManager[Ask]:
        """Questions as callers put them, to the alias. Raises GateRefused if they would get another model."""

    def point(self, release: Release | None, first: bool = False) -> None:
        """Let callers have this release; None: what they had before the first. `first`: no release was in use."""

    def drop(self, release: Release) -> None:
        """Give up a release that is not in use."""

    def sweep(self, known: set[str]) -> None:
        """Give up releases that are not among the known ids: of deploys that were killed."""


def target_of(plan: Plan, workspace: Workspace, environment: Mapping[str, str]) -> Target:
    """The plan's target.

    Raises:
        PlanError: an adapter is to be put on a base that Ollama does not have by name.
    """
    if plan.release.target == "embedded":
        return Embedded(plan, workspace)
    if plan.release.artifact == "adapter" and not plan.model.base.startswith("ollama:"):
        raise PlanError(
            f'joshi.toml: [release] artifact = "adapter" needs a base that Ollama has, and [model] base is '
            f'"{plan.model.base}"; write base = "ollama:NAME" or artifact = "gguf"'
        )
    return Ollama(plan, workspace, Server((plan.release.ollama or address(environment)).rstrip("/")))


def model_of(plan: Plan, workspace: Workspace, artifact: str, file: Path) -> GgufFile:
    """The file that holds tokenizer and template: what is released itself, or an adapter's base."""
    return GgufFile(file) if artifact == "gguf" else find_base(plan.model.base, workspace.root)


def weights_of(plan: Plan, workspace: Workspace, artifact: str, file: Path) -> Weights:
    """What llama.cpp runs of a release: its file, or the base with it beside."""
    return file if artifact == "gguf" else Adapted(find_base(plan.model.base, workspace.root).path, file)


class Embedded:
    """llama.cpp in this process: the file itself is the release, and `joshi serve` reads the pointer."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._plan, self._workspace = plan, workspace

    def check(self) -> None:
        return

    def make(self, release: Release, file: Path, progress: Progress) -> None:
        return

    @contextmanager
    def asking(self, release: Release, file: Path) -> Iterator[Ask]:
        with running(weights_of(self._plan, self._workspace, release.artifact, file), self._plan) as url:
            yield chat.asking(url, release.serving)

    def asking_in_use(self, release: Release, file: Path) -> AbstractContextManager[Ask]:
        return self.asking(release, file)

    def point(self, release: Release | None, first: bool = False) -> None:
        return

    def drop(self, release: Release) -> None:
        return

    def sweep(self, known: set[str]) -> None:
        return


class Ollama:
    """An Ollama server: MODEL:RELEASE-ID for each release, and MODEL, a copy of the one in use."""

    def __init__(self, plan: Plan, workspace: Workspace, server: Server) -> None:
        self._plan, self._workspace, self._server = plan, workspace, server
        self._client, self._url = server.client, server.url

    def check(self) -> None:
        require_version(self._url, self._plan.release.oldest_ollama, self._plan.release.artifact == "adapter")

    def make(self, release: Release, file: Path, progress: Progress) -> None:
        """Raises GateRefused if Ollama serves the model in another way than it was told."""
        there = release.served_as in self._digests()
        if not there:
            self._create(release, file, progress)
        found = self._faults(release, file)
        if found and there:  # somebody made it anew, or it is of another plan
            progress.warn(f"{release.served_as} is not as it was made ({'; '.join(found)}); making it again")
            self._create(release, file, progress)
            found = self._faults(release, file)
        if found:
            raise GateRefused(
                f"Ollama at {self._url} does not serve {release.served_as} as it was told: {'; '.join(found)}; nothing "
                "was switched"
            )

    def _create(self, release: Release, file: Path, progress: Progress) -> None:
        progress.say(f"making {release.served_as} in Ollama at {self._url}")
        weights = create.Weights(file, release.model_sha256, release.base)
        create.create(self._server, release.served_as, weights, release.serving, progress)

    def _faults(self, release: Release, file: Path) -> list[str]:
        """What Ollama serves otherwise than it was told: fields, or the prompt that it builds."""
        model = model_of(self._plan, self._workspace, release.artifact, file)
        if found := create.differences(self._server, release.served_as, release.serving, model):
            return found
        messages = parity_messages(release.serving.system)
        fault = asking.parity(self._server, release.served_as, messages, chat_tokenizer(model))
        return [fault] if fault else []

    @contextmanager
    def asking(self, release: Release, file: Path) -> Iterator[Ask]:
        yield asking.asking(self._server, release.served_as)

    @contextmanager
    def asking_in_use(self, release: Release, file: Path) -> Iterator[Ask]:
        there = self._digests()
        for name in (release.model, release.served_as):
            if name not in there:
                raise GateRefused(f"Ollama at {self._url} has no {name}; run 'joshi rollback {release.id}' to make it")
        if there[release.model] != there[release.served_as]:
            raise GateRefused(
                f"{release.model} in Ollama at {self._url} is not release {release.id}; run 'joshi rollback "
                f"{release.id}' to make it so"
            )
        yield asking.asking(self._server, release.model)

    def point(self, release: Release | None, first: bool = False) -> None:
        alias = self._plan.model.name if release is None else release.model
        kept, there = f"{alias}:{BEFORE}", self._digests()
        of_ours = {digest for name, digest in there.items() if _ours(name, alias)}
        with talking(self._url, f"moving {alias}"):
            if release is not None:
                if first and there.get(alias, "") not in {"", *of_ours}:
                    self._client.copy(alias, kept)  # somebody else's model of that name
                self._client.copy(release.served_as, alias)
            elif kept in there:
                self._client.copy(kept, alias)
            elif there.get(alias) in of_ours:
                self._client.delete(alias)

    def drop(self, release: Release) -> None:
        if release.served_as in self._digests():
            with talking(self._url, f"deleting {release.served_as}"):
                self._client.delete(release.served_as)

    def sweep(self, known: set[str]) -> None:
        alias = self._plan.model.name
        for name in self._digests():
            if _ours(name, alias) and name.removeprefix(f"{alias}:") not in known:
                with talking(self._url, f"deleting {name}"):
                    self._client.delete(name)

    def _digests(self) -> dict[str, str]:
        """The models that Ollama has, without :latest, and the digest of what each is."""
        with talking(self._url, "listing its models"):
            models = self._client.list().models
        return {str(model.model).removesuffix(":latest"): str(model.digest) for model in models}


def _ours(name: str, alias: str) -> bool:
    return re.fullmatch(re.escape(alias) + ":" + RELEASE_ID, name) is not None
