"""Bodies of several parts, with the media type of each: as Java writes them, fields and files look alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from proactive_tasks.engine.endpoint.answers import RefusedRequestError


@dataclass(slots=True)
class Part:
    """One part."""

    name: str = ""
    file_name: str = ""
    content_type: str = ""
    content: bytes = b""

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode("utf-8", "replace")


@dataclass(slots=True)
class _Collector:
    parts: list[Part] = field(default_factory=list)
    name: bytes = b""
    value: bytes = b""
    pieces: list[bytes] = field(default_factory=list)

    def on_part_begin(self) -> None:
        self.parts.append(Part())
        self.pieces = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        part, name = self.parts[-1], self.name.lower()
        if name == b"content-disposition":
            _, options = parse_options_header(self.value)
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            part.file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        elif name == b"content-type":
            part.content_type = self.value.decode("latin-1")
        self.name = self.value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append(data[start:end])

    def on_part_end(self) -> None:
        self.parts[-1].content = b"".join(self.pieces)


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts of a body.

    Raises:
        RefusedRequestError: it is none of several parts, or broken.
    """
    kind, options = parse_options_header(content_type)
    if not kind.startswith(b"multipart/") or not options.get(b"boundary"):
        raise RefusedRequestError(415, f"RESTEASY003065: Cannot consume content type {content_type or 'none'}",
                                  "javax.ws.rs.NotSupportedException")  # fmt: skip
    collector = _Collector()
    names = [name for name in dir(collector) if name.startswith("on_")]
    parser = MultipartParser(options[b"boundary"], {name: getattr(collector, name) for name in names})  # type: ignore[arg-type]
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise RefusedRequestError(400, f"Could not parse the multipart body: {error}", "java.io.IOException") from error
    return collector.parts
