"""The shapes in which the resource manager tells of nodes and node sources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from proactive_tasks.engine.endpoint.resources.feed import Node, Source

INFRASTRUCTURE_FIELDS = ("credentials", "maxNodes", "nodeTimeout", "paProperties")
POLICY_FIELDS = ("userAccessType", "providerAccessType")
_DEFAULTS = {"maxNodes": "4", "nodeTimeout": "30000", "userAccessType": "ALL", "providerAccessType": "ME"}


def model(words: set[str]) -> str:
    """The model of a variable that is one of these words, or empty."""
    return f"PA:LIST(,{','.join(sorted(words))})" if words else "PA:REGEXP(^$)"


def plugin(name: str, description: str, fields: tuple[str, ...], given: dict[str, str] | None = None) -> dict[str, Any]:
    """An infrastructure or a policy with its fields and their values."""
    defaults = {field: _DEFAULTS.get(field, "") for field in fields}
    values = {**defaults, **(given or {})}
    return {
        "pluginName": name,
        "pluginDescription": description,
        "configurableFields": [
            {
                "name": field,
                "value": values[field],
                "meta": {"type": "CREDENTIAL" if field == "credentials" else "NONE", "range": [], "description": ""},
            }
            for field in fields
        ],
        "defaultValues": defaults,
        "sectionDescriptions": {},
        "meta": {},
    }


def told(sources: list[Source], nodes: list[Node]) -> dict[str, Any]:
    """What a client is told that follows the feed."""
    return {
        "nodeSource": [source_told(source) for source in sources],
        "nodesEvents": [node_told(node) for node in nodes],
    }


def source_told(source: Source) -> dict[str, Any]:
    """A node source with the last that happened to it."""
    return {
        "timeStamp": source.last.stamp,
        "counter": source.last.counter,
        "firstCounter": source.last.first,
        "nodeSourceName": source.name,
        "nodeSourceDescription": source.description,
        "additionalInformation": {},
        "nodeSourceAdmin": source.admin,
        "nodeSourceStatus": "deployed" if source.deployed else "undeployed",
        "key": source.name,
        "sourceName": source.name,
        "sourceDescription": source.description,
        "eventType": source.last.event,
        "rmurl": None,
        "timeStampFormatted": _formatted(source.last.stamp),
    }


def node_told(node: Node) -> dict[str, Any]:
    """A node with the last that happened to it."""
    locked = "false" if node.locker is None else "true"
    description = (
        f"Node {node.name}\nURL: {node.url}\nNode source: {node.source}\nProvider: {node.provider}\n"
        f"Used by: {node.owner or 'nobody'}\nState: {_words(node.state)}\nLocked: {locked}\n"
    )
    return {
        "timeStamp": node.last.stamp,
        "counter": node.last.counter,
        "firstCounter": node.last.first,
        "nodeUrl": node.url,
        "nodeSource": node.source,
        "hostName": node.host,
        "nodeState": node.state,
        "previousNodeState": node.previous,
        "nodeProvider": node.provider,
        "nodeOwner": node.owner,
        "description": description,
        "defaultJMXUrl": None,
        "proactiveJMXUrl": None,
        "lockTime": node.locked_at,
        "nodeLocker": node.locker,
        "usageInfo": node.usage,
        "tokens": node.tokens,
        "key": node.url,
        "locked": node.locker is not None,
        "nodeInfo": description,
        "padname": "",
        "vnName": "",
        "vmname": node.machine,
        "eventType": node.last.event,
        "rmurl": None,
        "timeStampFormatted": _formatted(node.last.stamp),
    }


def _words(state: str) -> str:
    return state.replace("_", " ").capitalize()


def _formatted(stamp: int) -> str:
    moment = datetime.fromtimestamp(stamp / 1000, UTC)
    hour = moment.hour % 12 or 12
    return f"{moment.month}/{moment.day}/{moment:%y}, {hour}:{moment:%M} {'AM' if moment.hour < 12 else 'PM'}"
