"""Neutron's mechanism driver and agents over the lab's hypervisor.

Ports are bound at once, floating IPs become active at once, and after every writing call Neutron's whole state is told,
before the call is answered: so what Nova starts after it finds its ports.
"""

import threading

from neutron_lib import context as contexts
from neutron_lib.plugins import constants, directory
from neutron_lib.plugins.ml2 import api
from overlay_lab_tell import tell

READING = {"GET", "HEAD", "OPTIONS"}
telling = threading.Lock()


class Mechanism(api.MechanismDriver):
    """Binds every port; there is one host, and every network is on it."""

    def initialize(self):
        pass

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], "other", {}, status="ACTIVE")
            return


def telling_all(application):
    """The application, and behind each of its changes the hypervisor."""

    def told(environ, start_response):
        answer = application(environ, start_response)
        if environ["REQUEST_METHOD"] not in READING:
            with telling:  # so that an older state is never told after a newer one
                tell_all()
        return answer

    return told


def tell_all():
    admin = contexts.get_admin_context()
    plugin, routing = directory.get_plugin(), directory.get_plugin(constants.L3)
    addresses = routing.get_floatingips(admin)
    for address in addresses:
        status = "ACTIVE" if address["port_id"] else "DOWN"
        if address["status"] != status:
            routing.update_floatingip_status(admin, address["id"], status)
    tell(
        network={
            "networks": plugin.get_networks(admin),
            "subnets": plugin.get_subnets(admin),
            "ports": plugin.get_ports(admin),
            "security_groups": plugin.get_security_groups(admin),
            "routers": routing.get_routers(admin),
            "floatingips": addresses,
        }
    )
