"""Build entry point. All metadata stands in pyproject.toml; this file maps the job descriptors into the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["proactive_tasks", "proactive_tasks.*"]), "proactive_tasks.workflows"],
    package_dir={"proactive_tasks.workflows": "workflows"},
    package_data={
        "proactive_tasks": ["py.typed"],
        "proactive_tasks.workflows": ["*.xml"],
        "proactive_tasks.vpn": ["templates/*.j2"],
        "proactive_tasks.gateway": ["templates/*.j2"],
        "proactive_tasks.reports": ["templates/*.j2"],
        "proactive_tasks.lab": ["*.c"],
        "proactive_tasks.clouds": ["*.yaml"],
        "proactive_tasks.lab.cloud.openstack.controlplane": ["*.j2", "*.txt"],
    },
)
