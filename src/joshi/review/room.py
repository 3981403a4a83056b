"""Serve the review room until Ctrl-C: on this machine alone, unless TLS or a proxy guards the way to it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from joshi import base, datasets
from joshi.errors import JoshiError, PlanError
from joshi.plan import Plan
from joshi.review import accounts
from joshi.review.decisions import read_in
from joshi.review.rooms import preferences, samples
from joshi.review.store import Store, open_store
from joshi.review.web.app import make_app
from joshi.review.web.desk import Desk
from joshi.review.web.security import LOCAL
from joshi.rubric import Rubric
from joshi.schema import Preference, read_records
from joshi.workspace import Workspace

WILDCARDS = ("", "0.0.0.0", "::")


def serve(plan: Plan, workspace: Workspace, behind_proxy: bool, say: Callable[[str], None]) -> None:
    """Serve the rooms at the plan's host and port until Ctrl-C. `say` is told the address.

    Raises:
        PlanError: the host is not this machine alone, and neither TLS files nor --behind-proxy are given, or no name.
        JoshiError: nobody is a reviewer yet, curation has not run, or the port is taken.
    """
    import uvicorn  # brings what only a server needs

    certificate, key = tls_files(plan, workspace)
    hosts = hosts_of(plan, secure=certificate is not None or behind_proxy)
    with open_store(plan, workspace) as store:
        read_in(store, plan, workspace)
        refuse_without_reviewers(store)
        rubric = Rubric(plan, base.tokenizer(workspace))
        desk = make_desk(store, plan, workspace, rubric, secure=certificate is not None or behind_proxy)
        desk.catch_up()
        with listening(plan.review.host, plan.review.port) as open_socket:
            scheme = "https" if certificate else "http"
            name = plan.review.host if plan.review.host not in WILDCARDS else plan.review.names[0]
            shown = f"[{name}]" if ":" in name else name
            say(f"{scheme}://{shown}:{open_socket.getsockname()[1]}/")
            config = uvicorn.Config(
                make_app(desk, hosts),
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=behind_proxy,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                timeout_graceful_shutdown=3,
            )
            uvicorn.Server(config).run([open_socket])


def make_desk(
    store: Store,
    plan: Plan,
    workspace: Workspace,
    rubric: Rubric,
    secure: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Desk:
    """What the pages work with; its queues are filled at the first request."""
    anew = [True]  # the plan may ask for more people than when the queues were last filled

    def watched() -> list[Path]:
        waiting = (workspace.candidates, workspace.feedback_candidates, *workspace.to_rewrite)
        return [*waiting, *_pairs(plan, workspace)]

    def sync() -> None:
        samples.sync(store, plan, workspace, anew[0])
        found = [pair for path in _pairs(plan, workspace) for pair in read_records(path, Preference)]
        known = {sample.id: sample for sample in datasets.load_split(plan, workspace)} if found else {}
        preferences.sync(store, found, known, plan, anew[0])
        anew[0] = False

    return Desk(store, plan, workspace, rubric, clock, sync, watched, secure)


def _pairs(plan: Plan, workspace: Workspace) -> list[Path]:
    """The pairs of the newest version, where it has any."""
    if datasets.latest(plan, workspace) is None:
        return []
    path = datasets.preferences_path(plan, workspace)
    return [path] if path.exists() else []


def tls_files(plan: Plan, workspace: Workspace) -> tuple[Path | None, Path | None]:
    if plan.review.tls_certificate is None or plan.review.tls_key is None:
        return None, None
    paths = tuple(
        workspace.root / Path(name).expanduser() for name in (plan.review.tls_certificate, plan.review.tls_key)
    )
    for path in paths:
        if not path.is_file():
            raise PlanError(f"joshi.toml: [review] {path} does not exist; put the PEM file there, or take the key out")
    return paths[0], paths[1]


def hosts_of(plan: Plan, secure: bool) -> set[str]:
    """The host names that the room answers to.

    Raises:
        PlanError: others than this machine could reach it without TLS, or nothing says by which name they would.
    """
    host, names = plan.review.host, plan.review.names
    if host in LOCAL or host.startswith("127."):
        return {*LOCAL, host, *names}
    if not secure:
        raise PlanError(
            f"[review] host = {host!r} can be reached from other machines, so that tokens would cross the network in "
            "clear; name tls_certificate and tls_key in [review], or run with --behind-proxy behind a proxy that "
            "speaks TLS"
        )
    if host in WILDCARDS and not names:
        raise PlanError(
            f"[review] host = {host!r} says no name; list the host names by which browsers reach the room in "
            "[review] names"
        )
    return {*LOCAL, *names} | ({host} - set(WILDCARDS))


def refuse_without_reviewers(store: Store) -> None:
    with store.writing() as connection:
        accounts.form_key(connection)
        if not any(one.removed_at is None for one in accounts.accounts(connection)):
            raise JoshiError(
                "nobody is a reviewer yet; run 'joshi review add-reviewer NAME', which shows the token to log in with"
            )


def listening(host: str, port: int) -> socket.socket:
    """A bound socket, so that a port in use is told before the address is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise JoshiError(
            f"the review room cannot listen at {host}:{port} ({error.strerror or error}); stop what uses the port, or "
            "choose another with --port"
        ) from error
    return found
