"""A resource manager by REST: its monitoring feed, node sources, tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from proactive_tasks.overlay.errors import SchedulerError
from proactive_tasks.scheduler.client.rest import Rest, segment

LIST = re.compile(r"PA:LIST\((.*)\)", re.DOTALL)


class ResourceManager:
    """The resource manager of a scheduler; one session serves both."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def monitoring(self, counter: int = -1) -> dict[str, Any]:
        """The feed as it is: `latestCounter`, and the last event newer than the counter of each node and source.

        A counter of -1, or one greater than the newest, gives everything: it is a state and not a log.
        """
        headers = {"clientCounter": str(counter)}
        return self._rest.read(dict, "GET", "/rest/rm/monitoring", headers=headers)

    def monitoring_full(self) -> dict[str, Any]:
        """All node sources and nodes that are there: `nodeSource` and `nodesEvents`."""
        return self._rest.read(dict, "GET", "/rest/rm/monitoring/full")

    def node_sources(self) -> list[dict[str, Any]]:
        """The node sources, each as in the feed."""
        return self._rest.read(list, "GET", "/rest/rm/nodesource")

    def create_node_source(
        self,
        name: str,
        infrastructure: str,
        policy: str,
        *,
        infrastructure_parameters: Sequence[str] = (),
        infrastructure_files: Sequence[str] = (),
        policy_parameters: Sequence[str] = (),
        policy_files: Sequence[str] = (),
    ) -> None:
        """Create a node source and deploy it.

        Args:
            name: the node source's.
            infrastructure: full name of its Java class, as of the policy.
            policy: who may use and provide its nodes, and when there are any.
            infrastructure_parameters: in the order of the fields that `/rest/rm/infrastructures` tells, without files.
            infrastructure_files: the texts of those that are files or credentials.
            policy_parameters: those of the policy.
            policy_files: those of the policy that are files.

        Raises:
            SchedulerError: it was not made.
        """
        form = [
            ("nodeSourceName", name),
            ("infrastructureType", infrastructure),
            *(("infrastructureParameters", each) for each in infrastructure_parameters),
            *(("infrastructureFileParameters", each) for each in infrastructure_files),
            ("policyType", policy),
            *(("policyParameters", each) for each in policy_parameters),
            *(("policyFileParameters", each) for each in policy_files),
        ]
        answer = self._rest.json("POST", "/rest/rm/nodesource/create", form=form)
        if not (isinstance(answer, dict) and answer.get("result")):
            said = answer.get("errorMessage") if isinstance(answer, dict) else answer
            raise SchedulerError(f"node source {name}: not created: {said or 'no reason was told'}")

    def remove_node_source(self, name: str, preempt: bool = False) -> bool:
        """Remove a node source; `preempt` does not wait for its tasks."""
        form = {"name": name, "preempt": str(preempt).lower()}
        return _true(self._rest.json("POST", "/rest/rm/nodesource/remove", form=form))

    def remove_node(self, node_url: str, preempt: bool = False) -> bool:
        """Remove one node."""
        form = {"url": node_url, "preempt": str(preempt).lower()}
        return _true(self._rest.json("POST", "/rest/rm/node/remove", form=form))

    def add_token(self, node_url: str, token: str) -> None:
        """Keep a node for jobs that name the token (generic information NODE_ACCESS_TOKEN); others never run on it."""
        self._rest.call("POST", "/rest/rm/node/token", headers={"nodeurl": node_url, "token": token}, repeatable=True)

    def remove_token(self, node_url: str, token: str) -> None:
        """Take a token off a node."""
        self._rest.call("DELETE", "/rest/rm/node/token", headers={"nodeurl": node_url, "token": token}, repeatable=True)

    def acquire(self, source: str, number: int, timeout_s: int) -> list[str]:
        """Ask a node source for nodes, and do not wait for them: they show in the feed.

        Returns:
            what the server says of them, which is nothing where the source is full.
        """
        params = {"numbernodes": str(number), "sync": "false", "timeout": str(timeout_s)}
        answer = self._rest.json("POST", f"/rest/rm/nodesource/{segment(source)}/nodes", params=params, body={})
        return [str(each) for each in answer or ()]

    def topology(self) -> dict[str, Any]:
        """Hosts of the nodes, and distances between them where they are known."""
        return self._rest.read(dict, "GET", "/rest/rm/topology")

    def tokens(self) -> list[str]:
        """The tokens that nodes have."""
        found = LIST.fullmatch(self._rest.text("GET", "/rest/rm/model/tokens").strip())
        return [token for token in found[1].split(",") if token] if found else []


def _true(answer: Any) -> bool:
    return bool(answer.get("result") if isinstance(answer, dict) else answer)
