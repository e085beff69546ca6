"""An emulated OpenStack: the real control plane; hypervisor and agents are ours."""
