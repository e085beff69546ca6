"""Which work an interface leaves to hardware (ethtool -K, as system calls)."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

from proactive_tasks.lab.namespaces import socket_in

SIOCETHTOOL = 0x8946
_CHECKSUM, _SCATTER, _TCP_SEGMENTS, _SEGMENTS = 0x17, 0x19, 0x1F, 0x24  # ETHTOOL_STXCSUM, _SSG, _STSO, _SGSO


def set_offload(namespace: str, interface: str, *, on: bool) -> None:
    """Have the kernel's stack leave checksums and segments to the interface, or do them itself."""
    order = (_CHECKSUM, _SCATTER, _TCP_SEGMENTS, _SEGMENTS)
    with socket_in(namespace, kind=socket.SOCK_DGRAM) as control:
        for command in order if on else reversed(order):
            value = array.array("I", [command, int(on)])
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", interface.encode(), value.buffer_info()[0]))
