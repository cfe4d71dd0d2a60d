"""host-meta (RFC 6415): where WebFinger is, for software that asks there first."""

from typing import Final
from xml.sax.saxutils import quoteattr

from federation.origin import Origin
from federation.outbound import media
from federation.wire.strictjson import JsonObject

XRD: Final = "application/xrd+xml"


def build_xml(base: Origin) -> str:
    """Return `/.well-known/host-meta` in its own form."""
    template = quoteattr(_template(base))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<XRD xmlns="http://docs.oasis-open.org/ns/xri/xrd-1.0">'
        f'<Link rel="lrdd" type="{media.JRD}" template={template}/>'
        "</XRD>\n"
    )


def build_json(base: Origin) -> JsonObject:
    """Return the same as JSON (RFC 6415, appendix A)."""
    return {"links": [{"rel": "lrdd", "type": media.JRD, "template": _template(base)}]}


def _template(base: Origin) -> str:
    return f"{base}/.well-known/webfinger?resource={{uri}}"
