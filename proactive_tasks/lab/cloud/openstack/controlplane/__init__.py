"""What runs under the emulated OpenStack, in a virtual environment of its own: configuration, and our hypervisor."""
