"""What runs inside a task's own processes: standard library only, so that any interpreter can load it.

`server` forks one `runner` a task execution; the runner forks one process a script, in the order of the scheduler
(environment, pre, task, post, flow, clean), and hands the outcome to the engine.
"""
