"""Tell people that answers drifted: JSON to a web address, and e-mail. Neither holds a word of any answer."""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

import httpx

from joshi.monitoring.drift.verdict import DayVerdict
from joshi.plan import Plan

LOG = logging.getLogger("joshi")
SECONDS = 15.0
TLS_PORT, STARTTLS_PORT = 465, 587


def tell(verdict: DayVerdict, plan: Plan, environment: Mapping[str, str]) -> None:
    """Send the verdict to whom the plan names; what cannot be sent is a warning, as the verdict stands without it."""
    how = plan.monitoring
    if how.webhook:
        _post(verdict, plan, environment)
    if how.mail_to:
        _mail(verdict, plan, environment)


def _post(verdict: DayVerdict, plan: Plan, environment: Mapping[str, str]) -> None:
    named = plan.monitoring.webhook or ""
    url = environment.get(named.removeprefix("env:"), "") if named.startswith("env:") else named
    told: dict[str, Any] = {
        "model": plan.model.name,
        "day": verdict.day,
        "release": verdict.release,
        "verdict": verdict.verdict,
        "text": f"{plan.model.name}, {verdict.day}: {verdict.verdict}. {verdict.reason}",
    }
    try:
        httpx.post(url, json=told, timeout=SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its address may hold a secret, and httpx names it.
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        LOG.warning("the webhook was not told of it (%s); look at [monitoring] webhook", status)


def _mail(verdict: DayVerdict, plan: Plan, environment: Mapping[str, str]) -> None:
    how = plan.monitoring
    message = EmailMessage()
    message["Subject"] = f"{plan.model.name}: {verdict.verdict} on {verdict.day}"
    message["From"], message["To"] = how.mail_from, ", ".join(how.mail_to)
    message.set_content(f"{verdict.reason}\n\nRelease {verdict.release}. Read reports/drift/index.html.\n")
    login = environment.get((how.smtp_login or "").removeprefix("env:"), "")
    try:
        secure = ssl.create_default_context()
        kind = smtplib.SMTP_SSL if how.smtp_port == TLS_PORT else smtplib.SMTP
        options: dict[str, Any] = {"context": secure} if how.smtp_port == TLS_PORT else {}
        with kind(how.smtp_host, how.smtp_port, timeout=SECONDS, **options) as server:
            if how.smtp_port == STARTTLS_PORT:
                server.starttls(context=secure)
            if login:
                server.login(*login.split(":", 1))
            server.send_message(message)
    except (OSError, smtplib.SMTPException, TypeError) as error:
        LOG.warning("no mail was sent (%s); look at [monitoring] smtp_host and smtp_login", type(error).__name__)
