"""Tell a service automation the state of the service whose action this job is."""

from __future__ import annotations

from typing import Any

from proactive_tasks.overlay.errors import SchedulerError, SchedulerUnreachableError
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.context import Context

PATIENCE_S = 30.0
"""How long the service automation may take to answer."""

STATUS = ("instance_status", "instanceStatus")
"""What services of different versions call the state in their documents."""


def tell_service(
    context: Context,
    *,
    service_state: str,
    pca_instance_id: int = 0,
    pa_cloud_automation_rest_url: str = "",
    overlay: str = "",
) -> Result:
    """Set the state of a service's instance.

    Args:
        context: the scheduler that runs this task, and its session.
        service_state: the state that the action led to.
        pca_instance_id: the instance; 0: the job is no action of one, and there is nobody to tell.
        pa_cloud_automation_rest_url: the service automation; by itself beside the scheduler.
        overlay: the overlay that the service is.

    Raises:
        SchedulerError: the service automation does not answer, or refuses.
    """
    result = Result("tell_service", facts={"overlay": overlay, "state": service_state})
    if not pca_instance_id:
        result.warnings = ["this job is no action of a service: nobody is told"]
        return result
    scheduler = context.scheduler()
    base = pa_cloud_automation_rest_url or f"{scheduler.url}/cloud-automation-service"
    url = f"{base.rstrip('/')}/serviceInstances/{pca_instance_id}"
    document = _call("GET", url, scheduler.connect())
    if not isinstance(document, dict):
        raise SchedulerError(f"GET {url}: answered {str(document)[:200]!r}, and no service instance")
    known = next((name for name in STATUS if name in document), STATUS[0])
    if document.get(known) != service_state:
        _call("PUT", url, scheduler.connect(), {**document, known: service_state})
        result.changed, result.difference = True, [f"service instance {pca_instance_id}: {service_state}"]
    return result


def _call(method: str, url: str, session: str, body: dict[str, Any] | None = None) -> Any:
    import requests

    try:
        answer = requests.request(method, url, headers={"sessionid": session}, json=body, timeout=PATIENCE_S)
    except requests.RequestException as error:
        raise SchedulerUnreachableError(
            f"{method} {url}: no answer ({type(error).__name__}); is it the service's URL?"
        ) from None
    if not answer.ok:
        raise SchedulerError(f"{method} {url}: {answer.status_code} {' '.join(answer.text.split())[:300]}")
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return answer.text
