"""What is printed for systemd, cron and Kubernetes is what they read."""

from __future__ import annotations

import configparser
from pathlib import Path

import yaml

from joshi.monitoring.schedule import schedule

PLACE = Path("/srv/our work/50% done")


def test_cron_gets_one_line_a_job_with_its_percent_signs_escaped() -> None:
    lines = schedule("cron", PLACE, "/opt/joshi", "").splitlines()
    assert [line.split()[:5] for line in lines] == [["0", "2", "*", "*", "*"], ["0", "3", "*", "*", "*"]]
    assert all(r"--workspace '/srv/our work/50\% done' " in line for line in lines)
    assert "retrain --if-due" in lines[1]


def test_systemd_units_are_sections_with_the_commands() -> None:
    units = _units()
    assert list(units) == ["joshi-drift.service", "joshi-drift.timer", "joshi-retrain.service", "joshi-retrain.timer"]
    for name, command in (("drift", "drift"), ("retrain", "retrain --if-due")):
        service = units[f"joshi-{name}.service"]["Service"]
        assert service["ExecStart"] == f'/opt/joshi --workspace "/srv/our work/50%% done" {command}'
        assert service["SuccessExitStatus"] == "3"
        assert units[f"joshi-{name}.timer"]["Timer"]["Persistent"] == "true"


def _units() -> dict[str, configparser.RawConfigParser]:
    found = {}
    for text in schedule("systemd", PLACE, "/opt/joshi", "").split("# ~/.config/systemd/user/")[1:]:
        name, _, body = text.partition("\n")
        found[name] = configparser.RawConfigParser()
        found[name].optionxform = str  # type: ignore[assignment,method-assign]
        found[name].read_string(body)
    return found


def test_kubernetes_gets_two_cron_jobs() -> None:
    jobs = list(yaml.safe_load_all(schedule("kubernetes", PLACE, "", "registry.example/joshi:1")))
    assert [job["metadata"]["name"] for job in jobs] == ["joshi-drift", "joshi-retrain"]
    for job in jobs:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "registry.example/joshi:1"
        assert container["args"][:3] == ["joshi", "--workspace", "/workspace"]
