"""Azure's resource manager (ARM): its clients, how its calls are made, and what its refusals mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from proactive_tasks.clouds.steps import BusyError, UnclearError, insist
from proactive_tasks.overlay.errors import InputError, ProviderError

try:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
        ServiceRequestError,
    )
    from azure.core.pipeline import PipelineRequest, PipelineResponse
    from azure.core.pipeline.policies import SansIOHTTPPolicy
    from azure.identity import CredentialUnavailableError, DefaultAzureCredential
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
    from azure.mgmt.network import NetworkManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient
except ImportError as error:
    raise InputError(
        f"provider azure: its SDK is not installed here ({error}); run: "
        "pip install azure-identity azure-mgmt-network azure-mgmt-compute azure-mgmt-resource"
    ) from error

T = TypeVar("T")
Body = dict[str, Any]

ENDPOINT = "OVERLAY_AZURE_ENDPOINT"
"""Environment variable: ARM's URL, for sovereign clouds (https) and emulators (http, of a loopback address only)."""

SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"
PUBLIC_CLOUD = "https://management.azure.com"

BUSY = frozenset(
    {
        "AnotherOperationInProgress",
        "ReferencedResourceNotProvisioned",
        "RetryableError",
        "RetryableErrorDueToAnotherOperation",
        "ResourceGroupBeingDeleted",
        "NicReservedForAnotherVm",
        "TooManyRequests",
    }
)
"""What is over by itself: the same call is made again. An interface stays reserved for 180 s after a machine failed."""

IN_USE = frozenset(
    {
        "NicInUse",
        "InUseSubnetCannotBeDeleted",
        "InUseRouteTableCannotBeDeleted",
        "InUseNetworkSecurityGroupCannotBeDeleted",
        "PublicIPAddressCannotBeDeleted",
    }
)
"""Refusals to delete what something else uses: for a while after that is gone, too."""

QUOTA = "ask for a higher quota (portal: Quotas), or free some, then run this again"
SIZE = "set option vm_size (az vm list-skus tells what there is), zone or the region to another one"
LOGIN = "log in again (az login) or renew the credentials, then run this again: it goes on where it stopped"
REGION = "set the site's region to one of: az account list-locations"

NEXT = {
    "InvalidAuthenticationToken": LOGIN,
    "ExpiredAuthenticationToken": LOGIN,
    "AuthenticationFailed": LOGIN,
    "InvalidAuthenticationTokenTenant": "log in to the subscription's tenant (az login --tenant)",
    "SubscriptionNotFound": f"correct {SUBSCRIPTION} or the site's option subscription",
    "InvalidSubscriptionId": f"correct {SUBSCRIPTION} or the site's option subscription",
    "LocationNotAvailableForResourceGroup": REGION,
    "LocationNotAvailableForResourceType": REGION,
    "NoRegisteredProviderFound": REGION,
    "MissingSubscriptionRegistration": "register it: az provider register --namespace Microsoft.Network (or .Compute)",
    "InvalidResourceGroupLocation": "its group is there in another region; set the site's region to that one",
    "InvalidResourceLocation": "it is there in another region; set the site's region to that one",
    "SkuNotAvailable": SIZE,
    "AllocationFailed": f"Azure has no room for it now: try later, or {SIZE}",
    "ZonalAllocationFailed": f"Azure has no room for it now: try later, or {SIZE}",
    "OverconstrainedAllocationRequest": f"Azure has no room for it now: try later, or {SIZE}",
    "QuotaExceeded": QUOTA,
    "PublicIPCountLimitReached": QUOTA,
    "ResourceQuotaExceeded": QUOTA,
    "PrivateIPAddressInUse": "the gateway's address must be free: take it from that resource, then run this again",
    "SubnetIsFull": "take some hosts away, or give the overlay more host_bits",
    "PlatformImageNotFound": "set option image to PUBLISHER:OFFER:SKU:VERSION of: az vm image list --all",
    "ImageNotFound": "set option image to PUBLISHER:OFFER:SKU:VERSION of: az vm image list --all",
    "OSProvisioningTimedOut": "the machine runs but did not report in time: run this again in some minutes; "
    "if it still does not answer, replace the gateway",
    "VMAgentStatusCommunicationError": "run this again in some minutes",
    "ScopeLocked": "remove the lock that the message names, then run this again",
    "RequestDisallowedByPolicy": "a policy of the subscription forbids it: ask its owner for an exemption",
    "PropertyChangeNotAllowed": "the machine is there already, made otherwise: remove it or replace the gateway",
    "ResourceGroupDeletionBlocked": "remove what is named there, then run this again",
    "RouteConflict": "remove the other route of that prefix, then run this again",
}
"""Codes of refusals, and what to do about them."""

ACTION = re.compile(r"action '([^']+)'")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often; seconds."""

    retries: int = 4  # the SDK's own, of a call that is throttled, fails with 5xx or gets no answer
    backoff_s: float = 0.8
    backoff_max_s: float = 30.0
    connect_s: float = 10.0
    answer_s: float = 60.0
    poll_s: float = 1.0  # between polls, where ARM does not say
    read_s: float = 60.0  # for all tries of one reading call
    step_s: float = 300.0  # for all tries of one writing call
    operation_s: float = 900.0  # for one long-running operation


class _Stub(TokenCredential):
    """For emulators, which take any token."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # noqa: ARG002
        """A token that is none."""
        return AccessToken("emulated", int(time.time()) + 3600)

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:  # noqa: ARG002
        """A token that is none."""
        return AccessTokenInfo("emulated", int(time.time()) + 3600)


class _Plain(ARMChallengeAuthenticationPolicy):
    """Lets a token travel over plain HTTP: only on the loopback interface, only the stub's."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Switch off the SDK's refusal."""
        request.context.options.setdefault("enforce_https", False)
        super().on_request(request)


class _Read(SansIOHTTPPolicy[Any, Any]):
    """Reads refusals whole: else the SDK's retry leaves their connections open until they are collected as garbage."""

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:  # noqa: ARG002
        """Read what is refused."""
        if response.http_response.status_code >= 400:
            response.http_response.read()


def endpoint() -> tuple[str, bool]:
    """ARM's URL, and whether it is an emulator's.

    Raises:
        InputError: it is no URL, or tokens would travel in clear.
    """
    url = os.environ.get(ENDPOINT, "").rstrip("/") or PUBLIC_CLOUD
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InputError(f"{ENDPOINT}={url!r}: not a URL; write https://HOST") from None
    if parts.scheme not in {"https", "http"} or not host or parts.query:
        raise InputError(f"{ENDPOINT}={url!r}: not a URL; write https://HOST")
    if parts.scheme == "https":
        return url, False
    if not _loopback(host):
        raise InputError(f"{ENDPOINT}={url!r}: plain HTTP is for emulators on this machine only; write https://{host}")
    return url, True


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def subscription(option: str, whose: str) -> str:
    """The subscription to work in.

    Raises:
        InputError: none is named, or not by its id.
    """
    named = option or os.environ.get(SUBSCRIPTION, "")
    if not named:
        raise InputError(f"{whose}: no Azure subscription; set {SUBSCRIPTION} or the site's option subscription")
    try:
        return str(UUID(named))
    except ValueError:
        raise InputError(
            f"{whose}: {named!r} is not the id of a subscription; az account show --query id prints it"
        ) from None


class Arm:
    """The clients of a subscription, for one operation of the driver; a context manager that closes them."""

    def __init__(
        self,
        subscription_id: str,
        credential: TokenCredential | None,
        patience: Patience,
        asked: Callable[[Any], None] = lambda _request: None,
    ) -> None:
        self.subscription, self.patience = subscription_id, patience
        url, emulated = endpoint()
        scope = f"{url}/.default"
        arguments: dict[str, Any] = {
            "credential": credential or _Stub(),
            "subscription_id": subscription_id,
            "base_url": url,
            "credential_scopes": [scope],
            "polling_interval": patience.poll_s,
            "retry_total": patience.retries,
            "retry_backoff_factor": patience.backoff_s,
            "retry_backoff_max": patience.backoff_max_s,
            "per_retry_policies": [_Read()],
            "connection_timeout": patience.connect_s,
            "read_timeout": patience.answer_s,
            "raw_request_hook": asked,
        }
        if emulated:
            arguments["authentication_policy"] = _Plain(_Stub(), scope)

        self._opened = ExitStack()
        self.network = NetworkManagementClient(**arguments)
        self.compute = ComputeManagementClient(**arguments)
        self.resources = ResourceManagementClient(**arguments)

    def __enter__(self) -> Arm:
        """Open the clients before threads share them: else each thread opens a session, and all but one stay open."""
        for client in (self.network, self.compute, self.resources):
            self._opened.enter_context(client)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, call: str, do: Callable[[], Any]) -> Body | None:
        """What a reading call answers; None if that is not there."""

        def attempt() -> Body | None:
            try:
                with told(call):
                    return _plain(do())
            except _MissingError:
                return None

        return insist(attempt, self.patience.read_s)

    def list(self, call: str, do: Callable[[], Any]) -> list[Body]:
        """All that a listing call answers, every page of it."""

        def attempt() -> list[Body]:
            with told(call):
                return [_plain(item) for item in do()]

        return insist(attempt, self.patience.read_s)

    def once(self, call: str, do: Callable[[], Any]) -> Body:
        """What a call answers that is over with its answer."""
        with told(call):
            return _plain(do())

    def done(self, call: str, begin: Callable[[], Any], *, deleting: bool = False) -> Body:
        """Start a long-running operation and wait for its end.

        Raises:
            ProviderError: it failed, or takes too long.
        """
        try:
            with told(call, deleting=deleting):
                poller = begin()
                poller.wait(self.patience.operation_s)
                if not poller.done():
                    raise ProviderError(
                        f"{call}: not finished within {self.patience.operation_s:.0f} s; run this again, it goes on"
                    )
                answer = poller.result()
        except _MissingError:
            if not deleting:
                raise
            return {}
        return _plain(answer) if answer is not None else {}


def _plain(answer: Any) -> Body:
    """An answer as ARM wrote it."""
    made: Body = answer.as_dict()
    return made


class _MissingError(ProviderError):
    """404."""


@contextmanager
def told(call: str, *, deleting: bool = False) -> Iterator[None]:
    """Have what the SDK raises say which call it was, what ARM answered, and what to do next."""
    try:
        yield
    except CredentialUnavailableError as error:
        raise ProviderError(
            f"{call}: no credentials: {_line(error)}; log in with az login, or see docs/clouds.md"
        ) from error
    except HttpResponseError as error:
        raise _refusal(call, error, deleting=deleting) from error
    except ClientAuthenticationError as error:
        raise ProviderError(f"{call}: credentials refused: {_line(error)}; {LOGIN}") from error
    except ServiceRequestError as error:
        raise BusyError(f"{call}: no connection: {_line(error)}; check the network, {ENDPOINT} and proxies") from error
    except AzureError as error:
        raise UnclearError(f"{call}: no answer: {_line(error)}; run this again") from error


def _refusal(call: str, error: HttpResponseError, *, deleting: bool) -> ProviderError:
    status = error.status_code or 0
    code = (error.error.code if error.error else "") or str(status)
    message = _line(error.error.message if error.error else error)
    kind: type[ProviderError] = ProviderError
    if status == 429 or code in BUSY or (deleting and code in IN_USE):
        kind = BusyError
    elif status >= 500 or status == 408:
        kind = UnclearError
    elif isinstance(error, ResourceNotFoundError):
        kind = _MissingError
    return kind(f"{call} refused: {code}: {message}; {_next(code, status, message)}")


def _next(code: str, status: int, message: str) -> str:
    if code in {"AuthorizationFailed", "LinkedAuthorizationFailed"}:
        action = ACTION.search(message)
        return f"grant {action[1] if action else 'that permission'} to these credentials (docs/clouds.md)"
    if code in NEXT:
        return NEXT[code]
    if "quota" in message.lower():
        return QUOTA
    if status == 401:
        return LOGIN
    return "correct that and run this again" if 400 <= status < 429 else "run this again"


def _line(error: object) -> str:
    """A message in one line, not too long, without a full stop."""
    text = " ".join(str(error).split())
    return (text if len(text) <= 400 else f"{text[:397]}...").rstrip(".")


def credential() -> TokenCredential | None:
    """The SDK's own chain: environment, workload identity, managed identity, the logins of az, azd, PowerShell."""
    return None if endpoint()[1] else DefaultAzureCredential()
