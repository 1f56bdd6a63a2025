"""The certificate authorities (RFC 5280) that a peer named in the configuration is checked against: a TLS context.

For whatever this process asks itself: mirrors, anchors, verifiers of evidence. Connections to providers are Envoy's,
which reads its roots from files (``envoyconf.clusters``). No file that the configuration names is opened here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import certifi

from sovereign_ext.errors import ConfigError


def tls_context(roots: bytes | None) -> ssl.SSLContext:
    """A client's TLS that trusts ``roots`` (PEM) alone, or the system's where ``None`` is given.

    A system without any has those that come with Python's HTTP stack. Raises ``ConfigError``, without a field, for
    ``roots`` that hold no certificate: never is anybody else trusted instead.
    """
    if roots is None:
        context = ssl.create_default_context()
        paths = ssl.get_default_verify_paths()
        if paths.cafile is None and paths.capath is None:
            context.load_verify_locations(certifi.where())
        return context
    # Bundles name authorities in comments, in UTF-8; the certificates are ASCII.
    pem = roots.decode("ascii", "ignore")
    if not pem.strip():
        raise ConfigError("holds no PEM certificate")  # ssl would take the system's instead
    try:
        return ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ConfigError("holds no PEM certificate") from None


def read_roots(ca_file: str | None, read: Callable[[str], bytes], field: str) -> bytes | None:
    """The content of ``ca_file``, which ``read`` gives, checked; ``None`` where none is named.

    Raises ``ConfigError`` with ``field`` when it holds no certificate, and whatever ``read`` raises.
    """
    if ca_file is None:
        return None
    roots = read(ca_file)
    try:
        tls_context(roots)
    except ConfigError as error:
        raise ConfigError(error.reason, field=field) from None
    return roots
