"""One page of how things stand: the release, its gates, drift, feedback, data, reviews, and where it all came from.

It only reads. What cannot be read is told in its place, so that a damaged file hides nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from joshi import datasets, review
from joshi.curation import load_candidates
from joshi.errors import JoshiError
from joshi.monitoring import heard
from joshi.monitoring.drift.plots import score_plot
from joshi.monitoring.retrain import due
from joshi.monitoring.watch import report_folder
from joshi.pages import clean, templates
from joshi.pages.numbers import SYMBOLS, gate_row
from joshi.plan import Plan
from joshi.release.releases import Release, current, in_use_or_none, readable_releases, state_of
from joshi.stage import read_manifest
from joshi.workspace import Workspace

# The stages that a release comes from, in the data's order, and what to say of each.
LINEAGE: dict[str, Callable[[dict[str, Any]], str]] = {
    "base": lambda m: f"{m['parameters'] / 1e6:,.0f}M, {m['architecture']}",
    "curate": lambda m: f"{m['candidates']['kept']} of {m['candidates']['mined']} candidates pass",
    "dataset freeze": lambda m: f"v{m['version']}: {m['train']} to train, {m['validation']} held out",
    "train sft": lambda m: f"held-out loss {m['heldout_loss'][0]:.2f} → {m['heldout_loss'][1]:.2f}",
    "preference pairs": lambda m: f"{m['pairs']} pairs",
    "train preference": lambda m: f"reward accuracy {m['reward_accuracy'][1]:.0%}",
    "export": lambda m: f"{m['bytes'] / 1e6:,.0f} MB, {m['quantization']}",
    "evaluate": lambda m: f"verdict: {m['verdict']}",
}
TONES = {"ok": "pass", "drift": "fail", "insufficient data": "insufficient"}


def gather(plan: Plan, workspace: Workspace, now: datetime) -> dict[str, Any]:
    """All that the page shows, as plain values; a part that cannot be read is {"error": the sentence}."""
    release = _or_error(lambda: current(workspace))
    return {
        "model": plan.model.name,
        "at": now.isoformat(timespec="minutes"),
        "release": release.model_dump(mode="json") if isinstance(release, Release) else release,
        "releases": _releases(workspace),
        "drift": _or_error(lambda: _drift(workspace)),
        "feedback": _or_error(lambda: _feedback(workspace)),
        "datasets": _or_error(lambda: _datasets(plan, workspace)),
        "waiting": _or_error(lambda: _waiting(workspace)),
        "retraining": _or_error(lambda: due(plan, workspace, now).reason),
        "lineage": [_box(stage, told, workspace) for stage, told in LINEAGE.items()],
    }


def render(found: dict[str, Any]) -> str:
    """The page of what was gathered: no scripts, nothing fetched, every text escaped."""
    shown = clean(found)
    release, drift = shown["release"], shown["drift"]
    usable = isinstance(release, dict) and "error" not in release
    days = drift["history"] if isinstance(drift, dict) and "error" not in drift else []
    return (
        templates("monitoring")
        .get_template("dashboard.html.j2")
        .render(
            shown=shown,
            gates=[gate_row(gate) for gate in release["gates"]] if usable else [],
            released=usable,
            tone=TONES[drift["verdict"]] if days else "pass" if usable else "insufficient",
            symbols=SYMBOLS,
            score_plot=score_plot(days) if any(day["scores"] for day in days) else None,
            as_json=lambda value: json.dumps(value, indent=1, ensure_ascii=False),
        )
    )


def application(plan: Plan, workspace: Workspace, clock: Callable[[], datetime], port: int) -> FastAPI:
    """The page at /, made anew at every look."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", plan.release.host)}

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        if request.headers.get("host") not in hosts:  # a name that was made to point here (DNS rebinding)
            return PlainTextResponse("this page answers to its own address only", 403)
        return HTMLResponse(
            render(gather(plan, workspace, clock())),
            headers={
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
                "frame-ancestors 'none'",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )

    return app


def _or_error(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except JoshiError as error:
        return {"error": str(error)}


def _releases(workspace: Workspace) -> dict[str, Any]:
    in_use, (found, damaged) = in_use_or_none(workspace), readable_releases(workspace)
    rows = [
        {
            "id": one.id,
            "state": state_of(one, in_use),
            "by": one.by,
            "verdict": one.verdict,
            "dataset": f"{one.dataset['name']} v{one.dataset['version']}" if one.dataset else "unknown",
            "overrides": [override.reason for override in one.overrides],
        }
        for one in found
    ]
    return {"rows": rows, "damaged": damaged}


def _drift(workspace: Workspace) -> dict[str, Any] | None:
    path = report_folder(workspace) / "report.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in ("day", "verdict", "reason", "release", "history")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JoshiError(f"{path} cannot be read; run 'joshi drift' again") from error


def _feedback(workspace: Workspace) -> dict[str, Any]:
    opinions = heard.load(workspace, "feedback")
    by_agent: dict[str, Counter[str]] = {}
    for one in opinions:
        by_agent.setdefault(one.agent or "unnamed", Counter())[str(one.verdict)] += 1
    return {
        "answers": len(heard.load(workspace, "answer")),
        "agents": {agent: dict(counts) for agent, counts in sorted(by_agent.items())},
        "better": sum(one.better is not None for one in opinions),
    }


def _datasets(plan: Plan, workspace: Workspace) -> list[dict[str, Any]]:
    return [
        {
            "version": one.version,
            "at": one.created_at,
            "counts": one.counts,
            "withdrawn": datasets.withdrawn_path(plan, workspace, one.version).exists(),
        }
        for one in reversed(datasets.versions_of(plan, workspace))
    ]


def _waiting(workspace: Workspace) -> dict[str, int]:
    if not workspace.candidates.exists():
        return {"samples": 0, "rewritable": 0}
    open_ones = [one for one in review.apply(load_candidates(workspace), workspace) if one.review.status == "pending"]
    return {"samples": len(open_ones), "rewritable": len(review.rewritable(workspace))}


def _box(stage: str, told: Callable[[dict[str, Any]], str], workspace: Workspace) -> dict[str, Any]:
    manifest = _or_error(lambda: read_manifest(workspace, stage))
    if manifest is None:
        return {"stage": stage, "told": "has not run", "manifest": None}
    if isinstance(manifest, dict):
        return {"stage": stage, "told": manifest["error"], "manifest": None}
    metrics = {key: value for key, value in manifest.metrics.items() if key not in ("curve", "systems", "gates")}
    try:
        text = told(manifest.metrics)
    except (KeyError, TypeError, IndexError):
        text = "written by another version"
    return {
        "stage": stage,
        "told": text,
        "at": manifest.created_at,
        "manifest": manifest.model_dump(mode="json") | {"metrics": metrics},
    }
