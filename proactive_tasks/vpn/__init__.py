"""Back ends: each turns a link into one point-to-point interface at both gateways."""
