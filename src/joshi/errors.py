"""Errors that a user reads: one sentence saying what, where, what was expected and what to do next."""


class JoshiError(Exception):
    """Something the user can mend. `exit_code` follows the table in ARCHITECTURE.md."""

    exit_code = 1


class PlanError(JoshiError):
    """The command line or the plan asks for something that cannot be."""

    exit_code = 2


class GateRefused(JoshiError):  # noqa: N818 - a refusal is a verdict, not a failure
    """A gate, a missing approval or too little data stopped the run on purpose."""

    exit_code = 3


class Unavailable(JoshiError):  # noqa: N818 - the service is at fault, not the caller
    """A service or a package that this command needs is not there."""

    exit_code = 4
