"""Build entry point. All metadata stands in pyproject.toml; this file maps what the catalog holds into the package."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["proactive_tasks", "proactive_tasks.*"]),
        "proactive_tasks.workflows",
        "proactive_tasks.catalog",
    ],
    package_dir={"proactive_tasks.workflows": "workflows", "proactive_tasks.catalog": "catalog"},
    package_data={
        "proactive_tasks": ["py.typed"],
        "proactive_tasks.workflows": ["*.xml"],
        "proactive_tasks.catalog": ["*.groovy"],
        "proactive_tasks.vpn": ["templates/*.j2"],
        "proactive_tasks.gateway": ["templates/*.j2"],
        "proactive_tasks.reports": ["templates/*.j2"],
        "proactive_tasks.lab": ["*.c"],
        "proactive_tasks.clouds": ["*.yaml"],
        "proactive_tasks.lab.cloud.openstack.controlplane": ["*.j2", "*.txt"],
    },
)
