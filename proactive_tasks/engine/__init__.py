"""The embedded engine: runs job descriptors on one machine as the scheduler would.

It is no scheduler: one job a call, one machine, cpython, bash and native tasks. What it does not support it refuses
before anything runs, by name and line.
"""
