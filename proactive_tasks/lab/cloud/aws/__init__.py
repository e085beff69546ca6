"""An emulated AWS: moto's EC2, made as strict as the real one."""
