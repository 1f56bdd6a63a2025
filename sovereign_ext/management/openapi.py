"""The OpenAPI document: ``sovereign.management.v1.OpenApiService``. ``scripts/openapi.py`` makes it of the protos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.api import httpbody_pb2

from sovereign_ext._gen.sovereign.management.v1 import openapi_pb2
from sovereign_ext.management.rpc import Call, Methods, Reply

SERVICE: Final = openapi_pb2.DESCRIPTOR.services_by_name["OpenApiService"]
DOCUMENT: Final = Path(__file__).with_name("openapi.json")


@dataclass(frozen=True, slots=True)
class OpenApi:
    """The service. ``document`` is JSON in UTF-8."""

    document: bytes

    @classmethod
    def packaged(cls) -> OpenApi:
        """With the document that belongs to this code."""
        return cls(DOCUMENT.read_bytes())

    async def get_open_api(self, request: openapi_pb2.GetOpenApiRequest, call: Call) -> Reply:
        """The document, for anybody."""
        body = httpbody_pb2.HttpBody(content_type="application/json", data=self.document)
        return Reply(body, (("cache-control", "no-cache"),))

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"GetOpenApi": self.get_open_api}
