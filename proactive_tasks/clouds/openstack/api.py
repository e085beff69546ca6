"""A connection to one region of one OpenStack: each call by its name, tried again where that is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.steps import BusyError, UnclearError, insist
from proactive_tasks.overlay.errors import InputError, ProviderError

try:
    import openstack
    from keystoneauth1 import exceptions as auth_errors
    from keystoneauth1.session import TCPKeepAliveAdapter
    from openstack import exceptions as sdk_errors
    from openstack.proxy import Proxy
except ModuleNotFoundError as error:  # pragma: no cover - an installation without it
    raise InputError(f"provider openstack needs {error.name}; run: pip install openstacksdk") from error

T = TypeVar("T")

CALL_S = 60.0
VERSION = re.compile(r"/v\d")
"""What the path of a service's address has once its versions are known: /v2.0, /v2.1, /v2."""


READ_S = 60.0

QUOTA = "raise the project's quota, or remove what it does not need; then run this again"

NEXT = {
    400: "correct what the answer names, then run this again",
    401: "correct user, password and project of the cloud (clouds.yaml or OS_* variables), then run this again",
    403: "give the user the role 'member' in the project (docs/clouds.md lists the calls), then run this again",
    404: "it is gone meanwhile; run this again",
    409: "free what the answer names, then run this again",
}


class RefusedError(ProviderError):
    """A call that the cloud refused for good."""

    def __init__(self, message: str, status: int, answer: str) -> None:
        super().__init__(message)
        self.status, self.answer = status, answer


class _Counted(TCPKeepAliveAdapter):
    """The SDK's own transport, with a count of what is sent."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self._api = api

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a call."""
        self._api.calls += 1
        return super().send(*args, **kwargs)


class Api:
    """A connection to one region of one cloud; each call is tried again where that is right, and fails by its name."""

    def __init__(self, cloud: str, region: str) -> None:
        where = f"cloud {cloud or 'of OS_CLOUD or OS_* variables'}{f', region {region}' if region else ''}"
        self.where = where
        self.calls = 0
        try:
            self.sdk = openstack.connect(
                cloud=cloud or None, region_name=region or None, strict_proxies=True, api_timeout=CALL_S,
                app_name=naming.MANAGED_BY, connect_retries=0, status_code_retries=0,
            )  # fmt: skip
        except (sdk_errors.ConfigException, auth_errors.MissingRequiredOptions) as error:
            raise InputError(
                f"OpenStack {where}: {one_line(error)}; name a cloud of clouds.yaml by the site's option 'cloud' or by "
                "OS_CLOUD, or set the OS_* variables"
            ) from error
        transport = self.sdk.session.session
        for scheme in ("http://", "https://"):
            transport.mount(scheme, _Counted(self))
        self.read("Authenticate()", self.sdk.session.get_auth_headers)  # type: ignore[no-untyped-call,unused-ignore]
        for service in ("network", "compute", "image"):
            self.read(f"Discover({service})", partial(self._discover, service))
        self.network: Any = self.sdk.network
        self.compute: Any = self.sdk.compute
        self.image: Any = self.sdk.image
        self.project: str = self.sdk.current_project_id or ""

    def call(self, call: str, do: Callable[[], T]) -> T:
        """One call, once.

        Raises:
            BusyError: throttled.
            UnclearError: a 5xx, or no answer.
            RefusedError: it was refused; the message names the call, the answer and the next step.
            InputError: the region has no such service.
        """
        try:
            return do()
        except sdk_errors.HttpException as error:
            raise _refusal(call, error.status_code or 0, one_line(error.details or error.message)) from error
        except auth_errors.HttpError as error:
            raise _refusal(call, error.http_status, one_line(error.message or error)) from error
        except (auth_errors.EndpointNotFound, auth_errors.EmptyCatalog) as error:
            raise InputError(
                f"OpenStack {self.where}: {call}: {one_line(error)}; correct the site's region: the catalog has "
                f"{', '.join(self._regions()) or 'none'}"
            ) from error
        except auth_errors.SSLError as error:
            raise ProviderError(f"{call} failed: {one_line(error)}; correct 'cacert' of the cloud") from error
        except (
            auth_errors.ConnectionError,
            auth_errors.DiscoveryFailure,
            sdk_errors.NotSupported,
            sdk_errors.ServiceDiscoveryException,
        ) as error:
            raise UnclearError(f"{call} got no answer from {self.where}: {one_line(error)}; run this again") from error

    def read(self, call: str, do: Callable[[], T]) -> T:
        """A call that can be repeated safely, again while the cloud is busy."""
        return insist(lambda: self.call(call, do), READ_S)

    def list(self, call: str, do: Callable[[], Iterable[T]]) -> list[T]:
        """A list, whole."""
        return self.read(call, lambda: list(do()))

    def _discover(self, service: str) -> None:
        """Look a service's versions up. Where that fails, the SDK takes the catalog's address for the service's own."""
        place = Proxy.get_endpoint(getattr(self.sdk, service)) or ""
        if not VERSION.search(urlsplit(place).path):
            self.sdk._proxies.pop(service, None)  # noqa: SLF001 - there is no other way to make it look again
            raise sdk_errors.ServiceDiscoveryException(f"the versions of {service} are not told")

    def _regions(self) -> Sequence[str]:
        access: Any = self.sdk.session.auth
        catalog = access.get_access(self.sdk.session).service_catalog.catalog if access else []
        return sorted({endpoint["region"] for service in catalog for endpoint in service["endpoints"]})


def remove(api: Api, call: str, do: Callable[[], Any], patience_s: float = 60.0) -> None:
    """A removal, again while something that goes, too, still holds it. What is gone already is removed."""

    def attempt() -> None:
        try:
            api.call(call, do)
        except RefusedError as error:
            if error.status == 404:
                return
            if error.status == 409:
                raise BusyError(str(error)) from error
            raise

    insist(attempt, patience_s)


def _refusal(call: str, status: int, answer: str) -> ProviderError:
    if status in {413, 429, 503}:
        return BusyError(f"{call} was put off: {status}: {answer}; run this again later")
    if status >= 500:
        return UnclearError(f"{call} failed: {status}: {answer}; run this again")
    step = QUOTA if "quota" in answer.lower() else NEXT.get(status, NEXT[400])
    return RefusedError(f"{call} refused: {status}: {answer}; {step}", status, answer)


def one_line(answer: object) -> str:
    """An answer on one line, and not endless."""
    return " ".join(str(answer).split()).rstrip(".")[:500]
