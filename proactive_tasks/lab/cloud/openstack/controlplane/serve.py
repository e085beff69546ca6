"""Serves one service of the control plane: `serve.py SERVICE PORT MARK`. Runs in the control plane's environment.

Nova's conductor, scheduler and compute run in the process of its API, and Neutron needs no agents: so RPC stays within
a process and there is no message bus to start. The services themselves are as released.
"""

import os
import socket
import sys
import threading
import time
from importlib import import_module
from types import SimpleNamespace

THREADS = 6
NEEDS_S = 120


def keystone():
    from keystone.wsgi.api import application

    return application


def placement():
    from placement.wsgi.api import application

    return application


def glance():
    from glance.wsgi.api import application

    return application


def neutron():
    from neutron.wsgi.api import application
    from overlay_lab_neutron import telling_all

    return telling_all(application)


def nova():
    from nova.wsgi.osapi_compute import application  # noqa: I001 - it settles threading and configuration, hence first
    import os_vif
    from nova import objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler

    for port in os.environ.get("OVERLAY_LAB_NEEDS", "").split():
        await_port(int(port))
    # Nova looks for drivers among its own modules only.
    sys.modules["nova.virt.overlay_lab_nova"] = import_module("overlay_lab_nova")
    os_vif.initialize()
    objects.register_all()
    running = []
    for binary, topic in (
        ("nova-conductor", conductor.RPC_TOPIC),
        ("nova-scheduler", scheduler.RPC_TOPIC),
        ("nova-compute", compute.RPC_TOPIC),
    ):
        running.append(service.Service.create(binary=binary, topic=topic))
        running[-1].start()
    application.overlay_services = running
    return application


def await_port(port):
    """What compute does first needs these services."""
    end = time.monotonic() + NEEDS_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def main():
    name, port = sys.argv[1:3]
    sys.argv[1:] = []  # the services read it, too
    # Whoever ends this process knows it by its arguments: no service may write others over them.
    sys.modules["setproctitle"] = SimpleNamespace(setproctitle=lambda _title: None, getproctitle=str)
    application = {"keystone": keystone, "placement": placement, "glance": glance, "neutron": neutron, "nova": nova}[
        name
    ]()
    import waitress

    threading.current_thread().name = name
    waitress.serve(
        application, host="127.0.0.1", port=int(port), threads=THREADS, ident=None, clear_untrusted_proxy_headers=True
    )


if __name__ == "__main__":
    os.environ.setdefault("OS_NOVA_DISABLE_EVENTLET_PATCHING", "1")
    main()
