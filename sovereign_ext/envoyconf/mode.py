"""For whom a configuration is rendered. Apart from ``modes``, which says what that is, since every start of the command
line reads the names and few render anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    GATEWAY = "gateway"
    SIDECAR = "sidecar"
    SNIPPET = "snippet"
    XDS = "xds"
    ISTIO = "istio"
    ENVOY_GATEWAY = "envoy-gateway"
    KGATEWAY = "kgateway"


IN_PODS: Final = (Mode.ISTIO, Mode.ENVOY_GATEWAY, Mode.KGATEWAY)
"""Those that also say what runs beside Envoy, and so need a ``Pod``."""
