"""The error tree of the package.

Every error names its object, what was wrong and the next step. Bad input (`InputError`) ends the command line with
exit code 2, everything else with 1.
"""


class OverlayError(Exception):
    """Root of all errors that this package raises on purpose."""


class InputError(OverlayError, ValueError):
    """What was asked for cannot be done as asked: nothing was changed."""


class SpecificationError(InputError):
    """The specification is not valid; the message names file, line and key where they are known."""


class NumberingError(InputError):
    """Subnets overlap, or the numbering plan has no room left."""


class UnknownObjectError(InputError, LookupError):
    """A site, link, overlay, job or workflow that is not there."""


class StoreError(OverlayError):
    """The store cannot be reached, written or understood."""


class StoreUnavailableError(StoreError, InputError):
    """The store does not answer, is read-only, or was written by a newer release."""


class LeaseError(StoreError, TimeoutError):
    """Another living job holds the lock."""


class SecretError(InputError):
    """The passphrase is missing or wrong."""


class PkiError(OverlayError):
    """A certificate request, certificate or revocation list is not acceptable."""


class ProviderError(OverlayError, RuntimeError):
    """A cloud refused or failed; the message holds the provider's call and its answer."""


class GatewayError(OverlayError, RuntimeError):
    """A gateway could not be reached, or refused a change."""


class GatewayUnreachableError(GatewayError, ConnectionError):
    """No SSH connection to a gateway within the deadline."""


class HostKeyError(GatewayError):
    """A gateway showed another host key than the recorded one."""


class LinkError(OverlayError, RuntimeError):
    """A link does not carry what it should."""


class WorkflowError(InputError):
    """A job descriptor is refused; the message is the scheduler's own where it has one."""


class JobError(OverlayError, RuntimeError):
    """A job ended in another way than success."""


class JobDeadlineError(JobError, TimeoutError):
    """A job is not over within the deadline; it goes on."""


class SchedulerError(OverlayError, RuntimeError):
    """A scheduler or its catalog refused or failed; the message holds server, route and answer.

    `status` is the HTTP status of the answer, 0 where there was none; `said` is the server's own word, if any.
    """

    def __init__(self, message: str, status: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.status, self.said = status, said


class SchedulerUnreachableError(SchedulerError, ConnectionError):
    """No answer from a scheduler within the deadline."""


class SchedulerInputError(SchedulerError, InputError):
    """A scheduler refused what it was given: wrong password, invalid workflow, unknown job, object or bucket."""


class SchedulerVersionError(SchedulerInputError):
    """A scheduler of another version, which lacks a route."""
