"""Nova's compute driver over the lab's hypervisor. A server becomes ACTIVE when the lab has carried it out."""

import threading

from nova.virt import fake
from overlay_lab_tell import tell


class Hypervisor(fake.FakeDriverWithoutFakeNodes):
    """Nova's own fake, which keeps what is spawned in memory; each change is told before it is answered."""

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self._servers = {}
        self._changing = threading.Lock()

    def spawn(self, context, instance, *args, **kwargs):
        super().spawn(context, instance, *args, **kwargs)
        network_info = kwargs.get("network_info") or []
        self._tell(
            instance.uuid,
            {
                "id": instance.uuid,
                "name": instance.display_name,
                "status": "ACTIVE",
                "OS-EXT-SRV-ATTR:user_data": instance.user_data,
                "ports": [vif["id"] for vif in network_info],
            },
        )

    def destroy(self, context, instance, *args, **kwargs):
        super().destroy(context, instance, *args, **kwargs)
        self._tell(instance.uuid, None)

    def power_off(self, instance, *args, **kwargs):
        super().power_off(instance, *args, **kwargs)
        self._change(instance.uuid, status="SHUTOFF")

    def power_on(self, context, instance, *args, **kwargs):
        super().power_on(context, instance, *args, **kwargs)
        self._change(instance.uuid, status="ACTIVE")

    def attach_interface(self, context, instance, image_meta, vif):
        super().attach_interface(context, instance, image_meta, vif)
        self._change(instance.uuid, ports=[*self._ports(instance), vif["id"]])

    def detach_interface(self, context, instance, vif):
        super().detach_interface(context, instance, vif)
        self._change(instance.uuid, ports=[port for port in self._ports(instance) if port != vif["id"]])

    def _ports(self, instance):
        return self._servers.get(instance.uuid, {}).get("ports", [])

    def _change(self, uuid, **fields):
        if uuid in self._servers:
            self._tell(uuid, {**self._servers[uuid], **fields})

    def _tell(self, uuid, server):
        with self._changing:
            if server is None:
                self._servers.pop(uuid, None)
            else:
                self._servers[uuid] = server
            told = list(self._servers.values())
        tell(servers=told)
