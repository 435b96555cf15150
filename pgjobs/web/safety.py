"""What protects a browser: the headers of each answer, and the origin of each change."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

SAFE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With no-referrer browsers send `Origin: null` with each form.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}


def is_from_own_pages(headers: Headers, origin_header: str = "origin") -> bool:
    """Whether a form or a link of this console has sent the request, and not another site's.

    A browser says so itself (Sec-Fetch-Site), except on plain http from another machine. Then the
    origin has to be the host that was asked. Whoever says neither is refused.
    ``origin_header``: of a form it is ``origin``, of a link ``referer``.
    """
    told = headers.getlist("sec-fetch-site")
    if told:
        return told == ["same-origin"]
    origins, hosts = headers.getlist(origin_header), headers.getlist("host")
    if len(origins) != 1 or len(hosts) != 1:
        return False
    try:
        origin = urlsplit(origins[0])
    except ValueError:
        return False
    return origin.scheme in ("http", "https") and origin.netloc.lower() == hosts[0].lower() != ""
