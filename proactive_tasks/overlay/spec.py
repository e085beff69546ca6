"""The specification: what is wanted of an overlay, as `overlay.yaml` says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from proactive_tasks.overlay import checks, consistency, sources, yamltext
from proactive_tasks.overlay.errors import SpecificationError
from proactive_tasks.overlay.numbering import PROVIDERS, Split

MAX_BYTES = 1 << 20
"""The largest specification that is read: some 8,000 sites."""

Name = Annotated[str, AfterValidator(checks.name)]
Region = Annotated[str, AfterValidator(checks.region)]
Prefix = Annotated[IPv4Network, BeforeValidator(checks.prefix)]
Provider = Annotated[str, AfterValidator(checks.provider), Field(json_schema_extra={"enum": sorted(PROVIDERS)})]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Bfd(_Part):
    """How fast a dead link is noticed (RFC 5880): after `multiplier` packets, one each `interval_ms`, are missing."""

    interval_ms: int = Field(180, strict=True, ge=10, le=60_000)
    """Milliseconds between two packets."""
    multiplier: int = Field(5, strict=True, ge=2, le=50)
    """So many packets missed in a row mean that the link is dead."""


class SiteSpec(_Part):
    """A site as it is wanted."""

    name: Name
    """Name of the site, unique in the overlay."""
    provider: Provider
    """The kind of cloud."""
    region: Region = ""
    """The provider's word for the place."""
    prefixes: tuple[Prefix, ...] = ()
    """Networks that the site brings beside its subnet."""
    hosts: int = Field(0, strict=True, ge=0, le=65_000)
    """Application hosts: private addresses only, all else by the gateway."""
    parent: Name | None = None
    """In a tree, the site above this one."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """What else the provider offers: docs/specification.md lists the options of each."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        checks.options(self.provider, self.options)
        return self


class SourceSpec(_Part):
    """Node sources of the scheduler, and the site that their nodes make necessary."""

    source: Annotated[str, AfterValidator(sources.source)]
    """A node source, by its name or by a pattern such as `aws-*`."""
    provider: Provider
    """The kind of cloud where its nodes are."""
    region: Region = ""
    """The provider's word for the place."""
    prefixes: tuple[Prefix, ...] = ()
    """Networks that the site brings beside its subnet."""
    hosts: int = Field(0, strict=True, ge=0, le=200)
    """Application hosts that are made with the site; its nodes are none of them."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """What else the provider offers, a network to adopt for one."""
    site: Name | None = None
    """The site; made of the node source's name unless given. Several sources may share one."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        checks.options(self.provider, self.options)
        return self

    def site_of(self, source: str) -> str:
        """The name of the site of a node source that this row is about."""
        return self.site or sources.site_name(source)

    def wanted(self, name: str) -> SiteSpec:
        """The site as it is wanted."""
        return SiteSpec(name=name, **{key: getattr(self, key) for key in sources.FIELDS})


class Elastic(_Part):
    """Which sites come and go with the scheduler's node sources."""

    grace_s: int = Field(300, strict=True, ge=0, le=604_800)
    """Seconds that a site stays after its last node."""
    sources: tuple[SourceSpec, ...] = ()
    """The table of node sources. Those that no row is about bring nothing."""

    def row(self, source: str) -> SourceSpec | None:
        """The row about a node source: one that names it goes before a pattern, else the first in order."""
        return sources.row_of(self.sources, source)


class OverlaySpec(_Part):
    """An overlay as it is wanted."""

    version: Annotated[Literal[1], BeforeValidator(checks.version)]
    """Version of this language."""
    overlay: Name
    """Name of the overlay."""
    network: Annotated[Prefix, AfterValidator(checks.private)] = IPv4Network("10.0.0.0/8")
    """The private network that spans the sites."""
    transit_network: Annotated[Prefix, AfterValidator(checks.transit)] = IPv4Network("100.64.0.0/10")
    """Where the tunnels take the addresses of their two ends."""
    provider_bits: int = Field(8, strict=True, ge=2, le=16)
    """Bits of an address that tell the provider."""
    deployment_bits: int | None = Field(None, strict=True, ge=0, le=16)
    """Bits that tell the site within its provider; what the others leave, 8 at most, unless given."""
    host_bits: int = Field(8, strict=True, ge=4, le=16)
    """Bits that tell the machine within its site: 8 makes a /24 of each site."""
    providers: Mapping[Provider, Annotated[int, Field(strict=True, ge=1, le=65_534)]] = Field(default_factory=dict)
    """Numbers of providers, in place of the usual ones."""
    topology: Literal["mesh", "star", "tree", "on-demand"] = "mesh"
    """Which gateways get a link to which."""
    hub: Name | None = None
    """In a star, the site in the middle; the first one unless given."""
    vpn: Annotated[str, AfterValidator(checks.backend), Field(json_schema_extra={"enum": ["openvpn"]})] = "openvpn"
    """The back end of the tunnels."""
    cipher: Literal["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"] = "AES-256-GCM"
    """The tunnels' cipher."""
    key_algorithm: Literal["ecdsa", "rsa"] = "ecdsa"
    """Keys of authority and gateways: ECDSA P-256, or RSA of 3072 bits. Those that are there already stay."""
    controllers: tuple[Prefix, ...] = ()
    """Where SSH to the gateways may come from."""
    bfd: Bfd = Bfd()
    """How fast a dead link is noticed."""
    cooldown_s: int = Field(3600, strict=True, ge=0, le=31_536_000)
    """Seconds that a released subnet rests before another site gets it."""
    elastic: Elastic = Elastic()
    """Which sites come and go with the scheduler's node sources."""
    sites: tuple[SiteSpec, ...] = ()
    """The sites."""

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        consistency.check(self)
        sources.check(self)
        return self

    @property
    def split(self) -> Split:
        """How the network is divided; deployments take what bits the others leave, 8 at most."""
        left = 32 - self.network.prefixlen - self.provider_bits - self.host_bits
        bits = min(8, max(left, 0)) if self.deployment_bits is None else self.deployment_bits
        return Split(self.network, self.provider_bits, bits, self.host_bits, {**PROVIDERS, **self.providers})

    @property
    def cooldown(self) -> timedelta:
        """How long a released subnet rests."""
        return timedelta(seconds=self.cooldown_s)

    def site(self, name: str) -> SiteSpec | None:
        """The site of that name, if the specification holds it."""
        return next((site for site in self.sites if site.name == name), None)


def site_spec(**values: Any) -> SiteSpec:
    """One site as it is wanted, from values that a person gave.

    Raises:
        SpecificationError: with the field, what is wrong with it and what to do.
    """
    try:
        return SiteSpec.model_validate(values)
    except ValidationError as error:
        path, message = checks.describe(error.errors(include_url=False)[0])
        raise SpecificationError(f"site, {checks.dotted(path)}: {message}") from None


def schema() -> str:
    """The JSON Schema of the specification: what an editor checks while one writes."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **OverlaySpec.model_json_schema()}
    return json.dumps(found, indent=2) + "\n"


def load_spec(source: str | Path) -> OverlaySpec:
    """Read a specification from a file (`Path`) or from YAML text (`str`).

    Raises:
        SpecificationError: with file, line, key, what is wrong with it and what to do.
    """
    name = str(source) if isinstance(source, Path) else "specification"
    text = _read(source) if isinstance(source, Path) else source
    if len(text) > MAX_BYTES:
        raise SpecificationError(f"{name}: larger than {MAX_BYTES >> 20} MB; a specification is a short list of sites")
    document = yamltext.read(text, name)
    try:
        return OverlaySpec.model_validate(document.values)
    except ValidationError as error:
        raise SpecificationError(_explain(error, document, name)) from None


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise SpecificationError(f"{path}: not a file; name the file that holds the specification")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return data.decode()
    except OSError as error:
        raise SpecificationError(f"{path}: {error.strerror}; check its name and permissions") from error
    except UnicodeDecodeError as error:
        if len(data) > MAX_BYTES:
            return " " * len(data)
        raise SpecificationError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _explain(error: ValidationError, document: yamltext.Document, name: str) -> str:
    """The first problem by line, as one message."""
    problems = []
    for problem in error.errors(include_url=False):
        path, message = checks.describe(problem)
        problems.append((path != ("version",), document.line(path), checks.dotted(path), message))
    _, line, key, message = min(problems)
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{name}, line {line}, {key}: {message}{more}" if key else f"{name}, line {line}: {message}{more}"
