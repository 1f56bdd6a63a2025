"""google-auth asks a token endpoint for a service account, as a client that the endpoint must serve like ours.

Run in the judges' environment: key file and token URL are its arguments. Prints header and claims of the assertion
that it made, and the token's length.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import google.auth.jwt
from google.auth.transport.requests import Request
from google.oauth2 import service_account

key_file, token_url = sys.argv[1:]
credentials = service_account.Credentials.from_service_account_info(
    {**json.loads(Path(key_file).read_text(encoding="utf-8")), "token_uri": token_url},
    scopes=["https://www.googleapis.com/auth/cloud-platform"],
)
credentials.refresh(Request())
assertion = credentials._make_authorization_grant_assertion()
header, claims, _, _ = google.auth.jwt._unverified_decode(assertion)
print(json.dumps({"header": header, "claims": claims, "token": len(credentials.token)}))
