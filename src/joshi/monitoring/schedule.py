"""When the daily check and the monthly training run: as a systemd timer, lines for cron, or Kubernetes CronJobs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import yaml

Kind = Literal["systemd", "cron", "kubernetes"]
DRIFT_HOUR, RETRAIN_HOUR = 2, 3  # of the night; a training that is due starts after the check that says so


def schedule(kind: Kind, workspace: Path, program: str, image: str) -> str:
    """The text to install; nothing is installed by itself.

    Args:
        workspace: its folder.
        program: how joshi is called on that machine.
        image: a container with joshi in it, for Kubernetes.
    """
    place = workspace.resolve()
    jobs = [
        ("drift", "drift", f"*-*-* {DRIFT_HOUR:02}:00:00", f"0 {DRIFT_HOUR} * * *"),
        ("retrain", "retrain --if-due", f"*-*-* {RETRAIN_HOUR:02}:00:00", f"0 {RETRAIN_HOUR} * * *"),
    ]
    if kind == "cron":
        quoted = shlex.quote(str(place)).replace("%", r"\%")  # cron ends a command at a bare %
        return "".join(
            f"{cron} {program} --workspace {quoted} {command} >> {quoted}/.joshi/{name}.log 2>&1\n"
            for name, command, _, cron in jobs
        )
    if kind == "systemd":
        return "\n".join(_systemd(name, command, when, place, program) for name, command, when, _ in jobs)
    return "---\n".join(
        yaml.safe_dump(_cron_job(name, command, cron, image), sort_keys=False) for name, command, _, cron in jobs
    )


def _systemd(name: str, command: str, when: str, place: Path, program: str) -> str:
    escaped = str(place).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f"""# ~/.config/systemd/user/joshi-{name}.service
[Unit]
Description=Joshi: {command}

[Service]
Type=oneshot
ExecStart={program} --workspace "{escaped}" {command}
# 3 is a verdict, drift or a gate that refused: the job did its work
SuccessExitStatus=3

# ~/.config/systemd/user/joshi-{name}.timer
[Unit]
Description=Joshi: {command}, every night

[Timer]
OnCalendar={when}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _cron_job(name: str, command: str, cron: str, image: str) -> dict[str, object]:
    container = {
        "name": "joshi",
        "image": image,
        "args": ["joshi", "--workspace", "/workspace", *command.split()],
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": "joshi-workspace"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"joshi-{name}"},
        "spec": {
            "schedule": cron,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
        },
    }
