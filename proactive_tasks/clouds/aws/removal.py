"""The removal of a site from AWS, in the order in which AWS lets go of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proactive_tasks.clouds.aws.api import KINDS, WAITING, Api, Found, Object, name_of, said, tags_of
from proactive_tasks.clouds.naming import MANAGED_BY
from proactive_tasks.clouds.steps import Taken
from proactive_tasks.overlay.errors import ProviderError


@dataclass
class Removal:
    """Everything of a site but its instances, in the order in which AWS lets go of it."""

    api: Api
    found: Found
    taken: Taken

    def all(self) -> None:
        """Remove it."""
        self._routes()
        self._addresses()
        self._tables()
        for each in self.found.ours("subnet"):
            self._alone(each)
            self._remove("subnet", each, "DeleteSubnet", SubnetId=each["SubnetId"])
        for each in self.found.ours("security group"):
            self._unlink(each)
        for each in self.found.ours("security group"):
            self._remove("security group", each, "DeleteSecurityGroup", GroupId=each["GroupId"])
        self._way_out()
        for each in self.found.ours("VPC"):
            self._remove("VPC", each, "DeleteVpc", VpcId=each["VpcId"])
        for each in self.found.ours("key pair"):
            self._remove("key pair", each, "DeleteKeyPair", KeyName=each["KeyName"])

    def _addresses(self) -> None:
        for each in self.found.ours("address"):
            if bound := each.get("AssociationId"):
                self._change("address", each, "take it from the gateway", "DisassociateAddress", AssociationId=bound)
            self._remove("address", each, "ReleaseAddress", AllocationId=each["AllocationId"])
        for each in self.found.ours("network interface"):
            identifier = each["NetworkInterfaceId"]
            if not each.get("Attachment", {}).get("DeleteOnTermination"):  # else it went with its instance
                self._remove("network interface", each, "DeleteNetworkInterface", NetworkInterfaceId=identifier)

    def _tables(self) -> None:
        for each in self.found.ours("route table"):
            for one in each.get("Associations", ()):
                bound, line = one["RouteTableAssociationId"], "take it from its subnet"
                self._change("route table", each, line, "DisassociateRouteTable", AssociationId=bound)
            self._remove("route table", each, "DeleteRouteTable", RouteTableId=each["RouteTableId"])

    def _way_out(self) -> None:
        for each in self.found.ours("Internet gateway"):
            this = {"InternetGatewayId": each["InternetGatewayId"]}
            for one in each.get("Attachments", ()):
                line, vpc = "detach from the VPC", one["VpcId"]
                self._change("Internet gateway", each, line, "DetachInternetGateway", VpcId=vpc, **this)
            self._remove("Internet gateway", each, "DeleteInternetGateway", **this)

    def _routes(self) -> None:
        """Routes of an adopted network that lead to our interface."""
        mine = {each["NetworkInterfaceId"] for each in self.found.ours("network interface")}
        for table in self.found.held.get("route table", ()):
            if table in self.found.ours("route table"):
                continue
            for route in table.get("Routes", ()):
                if route.get("NetworkInterfaceId") in mine:
                    identifier, to = table["RouteTableId"], route["DestinationCidrBlock"]
                    self._do(
                        f"route {to} in {identifier}: remove",
                        "DeleteRoute",
                        identifier,
                        RouteTableId=identifier,
                        DestinationCidrBlock=to,
                    )

    def _alone(self, subnet: Object) -> None:
        """Whatever else is in the subnet is not ours to remove, and would only let the removal wait in vain."""
        identifier = subnet["SubnetId"]
        others = self.api.look("network interface", {"subnet-id": identifier})
        foreign = [each for each in others if tags_of(each).get("managed-by") != MANAGED_BY]
        if foreign:
            words = ", ".join(
                each["NetworkInterfaceId"]
                + (
                    f" of instance {each['Attachment']['InstanceId']}"
                    if each.get("Attachment", {}).get("InstanceId")
                    else ""
                )
                for each in foreign
            )
            raise ProviderError(
                f"subnet {name_of('subnet', subnet)} ({identifier}) holds what is not this overlay's: {words}; "
                "remove it, then run this again"
            )

    def _unlink(self, group: Object) -> None:
        """Rules by which groups name each other, made by hand, keep both from going."""
        for action, where in (
            ("RevokeSecurityGroupIngress", "IpPermissions"),
            ("RevokeSecurityGroupEgress", "IpPermissionsEgress"),
        ):
            named = [
                {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
                | {"UserIdGroupPairs": [{"GroupId": pair["GroupId"]} for pair in rule["UserIdGroupPairs"]]}
                for rule in group.get(where, ())
                if rule.get("UserIdGroupPairs")
            ]
            if named:
                self._change(
                    "security group",
                    group,
                    "drop what names groups",
                    action,
                    GroupId=group["GroupId"],
                    IpPermissions=named,
                )

    def _change(self, kind: str, of: Object, what: str, action: str, **arguments: Any) -> None:
        self._do(f"{kind} {name_of(kind, of)}: {what}", action, str(of[KINDS[kind].identifier]), **arguments)

    def _remove(self, kind: str, of: Object, action: str, **arguments: Any) -> None:
        self._change(kind, of, "remove", action, **arguments)
        self.taken.journal.gone(kind, name_of(kind, of))

    def _do(self, line: str, action: str, on: str, **arguments: Any) -> None:
        fine = {"NotFound", "Gateway.NotAttached", "InvalidPermission.NotFound"}
        self.taken.take(
            line,
            said(action, on, **arguments),
            lambda: self.api.call(action, on, fine=fine, busy=WAITING, **arguments),
            instead={},
        )
