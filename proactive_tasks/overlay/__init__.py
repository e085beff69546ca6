"""The overlay's model: specification, numbering plan, topology, plan. Pure: no network, no disk, no clock."""
