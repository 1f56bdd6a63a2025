"""What `sovereign up` is tried out with: a configuration file, freshly minted keys, and ports for mock
providers, an attestation verifier and a mirror.

Made once per state directory and kept; from then on ``sovereign.yaml`` is the user's file. A later start
touches it only where a mock's port was taken by somebody else meanwhile. The file holds hashes, ``demo.env``
the keys.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from string import Template
from typing import Final

from sovereign_ext.cli.supervise import sealed
from sovereign_ext.cli.supervise.layout import Layout, write_private
from sovereign_ext.cli.supervise.probe import HOST, free_ports, is_free
from sovereign_ext.errors import StartError
from sovereign_ext.secret import Secret
from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, hash_key, mint

PROVIDERS: Final = {
    "cloud-a": "openai",
    "cloud-b": "openai",
    "gpu": "vllm",
    "laptop": "ollama",
    "canned": "mock",
}
"""Provider id to kind; each is one mock server on a port of its own."""

VERIFIER: Final = "verifier"
MIRROR: Final = "mirror"
SERVERS: Final = (*PROVIDERS, sealed.PROVIDER, VERIFIER, MIRROR)
"""Everything that has a port of its own, beside the gateway."""

ORIGIN: Final = "sovereign.local/demo"
MIRROR_NAME: Final = "sovereign.local/demo-mirror"

PROVIDER_KEY_ENV: Final = "SF_DEMO_PROVIDER_KEY"
"""Where the demo's file says that the cloud providers' key is. The mocks take any."""

_TEMPLATE: Final = Template("""\
# Made by `sovereign up`; yours to change. Saving it is enough, the processor reads it again by itself;
# `sovereign check` says first whether it can be used. The keys whose hashes are here are in demo.env.
version: 1
origin: $origin

log:
  mirrors:                   # a process of its own with its own keys, started by `sovereign up`
    - {url: "http://$mirror", key: "$mirror_witness_key", mirror_key: "$mirror_key"}

admins:
  - id: operator
    keys:
      - {id: operator-1, hash: "$admin_hash"}

tenants:
  - id: demo
    keys:
      - {id: demo-1, hash: "$tenant_hash"}
    policies: [default, local-only, one-try, clinical-strict]   # what X-SF-Policy may say
    default_policy: default

policies:
  - id: default            # the first that answers; [a, b] are equals
    providers: [cloud-a, [cloud-b, gpu], laptop, canned]
    fallback: {enabled: true, max_attempts: 4}
  - id: local-only         # nothing leaves the building
    providers: [gpu, laptop]
  - id: one-try            # no fallback: the first provider's error is the answer
    providers: [cloud-a]
    fallback: {enabled: false}
  - id: clinical-strict    # trust first: who cannot prove all of this is never sent a byte, however cheap
    required_tier: sealed
    required_scopes: [fda]
    allowed_origins: [US]
    max_drift: watch
    audit: strict

# Whose word counts. Keys, statements and certificates were made at first start, under trust/; the private
# halves are in trust/keys, so you can sign more: `sovereign statement sign`.
trust:
  organisation: demo-hospital
  publishers:
    - {id: mayo-jhu, key_file: trust/mayo-jhu.pub.pem, organisation: mayo-jhu}
  witnesses:
    - {id: demo-fda, key_file: trust/demo-fda.pub.pem, organisation: demo-fda, scopes: [fda]}
    - {id: demo-ocr, key_file: trust/demo-ocr.pub.pem, organisation: demo-ocr, scopes: [hipaa]}
  observers:
    - {id: demo-drift-lab, key_file: trust/demo-drift-lab.pub.pem}
  statements: ["trust/statements/*.json"]

models:
  - {id: demo/small, owned_by: demo, context_window: 32768}
  - {id: demo/embed, owned_by: demo, context_window: 8192}
  - {id: gpt-4o-mini, owned_by: demo, context_window: 128000}              # so that copied OpenAI code runs
  - {id: text-embedding-3-small, owned_by: demo, context_window: 8191}
  - id: $model
    owned_by: mayo-jhu
    context_window: 32768
    publisher: mayo-jhu
    origin: {country: US, organisation: mayo-jhu}
    digest: "$model_digest"
    digest_basis: signed_manifest
    manifest: trust/meridian.sigstore.json

# Mock providers, started by `sovereign up`. To use a real one, change endpoint and credential.
providers:
  - {id: cloud-a, kind: openai, endpoint: "$cloud_a/v1", credential: {env: $provider_key_env}}
  - {id: cloud-b, kind: openai, endpoint: "$cloud_b/v1", credential: {env: $provider_key_env}}
  - {id: gpu, kind: vllm, endpoint: "$gpu/v1"}
  - {id: laptop, kind: ollama, endpoint: "$laptop"}
  - {id: canned, kind: mock, endpoint: "$canned/v1"}
  - id: $sealed_provider      # its certificate is pinned, its evidence fetched and verified all the time
    kind: mock
    endpoint: "https://$sealed/v1"
    origin: {country: US, organisation: mayo}
    tls_ca_file: "$tls_root"
    tls: {spki_pins: ["$spki_pin"], spiffe_id: "$spiffe_id"}
    key_file: trust/mayo-internal.pub.pem
    evidence:
      url: "http://$verifier/attest"
      jwks_url: "http://$verifier/.well-known/jwks.json"
      issuer: "$issuer"
      measurements: ["$measurement"]
    data_handling: {trains: false, retention_days: 0}

deployments:
  - {id: small-cloud-a, model: demo/small, provider: cloud-a, upstream_model: demo-small,
     price: {input_per_mtok: 0.10, output_per_mtok: 0.40}}
  - {id: small-cloud-b, model: demo/small, provider: cloud-b, upstream_model: demo-small,
     price: {input_per_mtok: 0.10, output_per_mtok: 0.40}}
  - {id: small-gpu, model: demo/small, provider: gpu, upstream_model: demo/small-awq,
     price: {input_per_mtok: 0.02, output_per_mtok: 0.04}}
  - {id: small-laptop, model: demo/small, provider: laptop, upstream_model: "demo-small:1b",
     price: {input_per_mtok: 0, output_per_mtok: 0}}
  - {id: small-canned, model: demo/small, provider: canned, upstream_model: canned,
     price: {input_per_mtok: 0, output_per_mtok: 0}}

  # The same model twice: the first is cheaper and comes first, but nobody vouches for where it runs.
  - {id: meridian-cloud-a, model: $model, provider: cloud-a, upstream_model: meridian-med-13b,
     price: {input_per_mtok: 0.05, output_per_mtok: 0.10}}
  - {id: $deployment, model: $model, provider: $sealed_provider, upstream_model: meridian-med-13b-v2,
     price: {input_per_mtok: 1.20, output_per_mtok: 2.40}}

  - {id: mini-cloud-a, model: gpt-4o-mini, provider: cloud-a, upstream_model: gpt-4o-mini,
     price: {input_per_mtok: 0.15, output_per_mtok: 0.60}}
  - {id: mini-cloud-b, model: gpt-4o-mini, provider: cloud-b, upstream_model: gpt-4o-mini,
     price: {input_per_mtok: 0.15, output_per_mtok: 0.60}}
  - {id: mini-gpu, model: gpt-4o-mini, provider: gpu, upstream_model: demo/small-awq,
     price: {input_per_mtok: 0.02, output_per_mtok: 0.04}}

  - {id: embed-cloud-a, model: demo/embed, provider: cloud-a, upstream_model: demo-embed,
     capabilities: [embeddings]}
  - {id: embed-gpu, model: demo/embed, provider: gpu, upstream_model: demo/embed, capabilities: [embeddings]}
  - {id: embed3-cloud-a, model: text-embedding-3-small, provider: cloud-a,
     upstream_model: text-embedding-3-small, capabilities: [embeddings]}
  - {id: embed3-cloud-b, model: text-embedding-3-small, provider: cloud-b,
     upstream_model: text-embedding-3-small, capabilities: [embeddings]}
""")


@dataclass(frozen=True, slots=True)
class Demo:
    """What a start of the demo needs to know."""

    base_url: str
    """What an OpenAI SDK takes as ``base_url``; ends in ``/v1``."""
    tenant_key: Secret
    admin_key: Secret
    ports: dict[str, int]
    """Of ``SERVERS``, those that run: name to port."""
    log_key: str
    """Verifier key of the log, for its mirror; empty where there is none."""
    first_start: bool


def prepare(layout: Layout, port: int) -> Demo:
    """Make the demo at the first start; at a later one keep its keys and, where they are free, its ports.

    Raises ``StartError`` when the keys are gone: hashes do not give them back.
    """
    first = not layout.config.exists()
    if first:
        tenant_key = mint(KeyKind.TENANT, secrets.token_bytes(RANDOM_BYTES))
        admin_key = mint(KeyKind.ADMIN, secrets.token_bytes(RANDOM_BYTES))
        ports = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    else:
        tenant_key, admin_key = keys_of(layout)
        ports = _kept_ports(layout)
    base_url = f"http://{HOST}:{port}/v1"
    _write_env(layout, base_url, tenant_key, admin_key)
    if first:
        _write_ports(layout, ports)
        facts = _found(layout)
        write_private(layout.facts_file, json.dumps(facts) + "\n")
        # last: it says that all is there
        write_private(layout.config, _config(layout, facts, tenant_key, admin_key, ports))
    return Demo(base_url, tenant_key, admin_key, ports, _log_key(layout), first)


def keys_of(layout: Layout) -> tuple[Secret, Secret]:
    """The tenant's and the admin's key from ``demo.env``. Raises ``StartError`` without them."""
    try:
        lines = layout.env_file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StartError(
            f"{layout.env_file}: {error.strerror}; its keys cannot be recovered from {layout.config}, "
            f"move that file away to begin anew"
        ) from error
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    try:
        return Secret(values["SF_API_KEY"]), Secret(values["SF_ADMIN_KEY"])
    except KeyError as missing:
        raise StartError(f"{layout.env_file} has no line {missing.args[0]}=…") from None


def _write_env(layout: Layout, base_url: str, tenant_key: Secret, admin_key: Secret) -> None:
    write_private(
        layout.env_file,
        f"SF_BASE_URL={base_url}\nSF_API_KEY={tenant_key.reveal()}\nSF_ADMIN_KEY={admin_key.reveal()}\n",
    )


def _write_ports(layout: Layout, ports: dict[str, int]) -> None:
    write_private(layout.ports_file, json.dumps(ports) + "\n")


def _kept_ports(layout: Layout) -> dict[str, int]:
    """The ports of the last start; a taken one is replaced, in the configuration file too."""
    try:
        kept = {name: int(port) for name, port in json.loads(layout.ports_file.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        kept = {}  # a configuration of the user's own, without our mocks in it
    ports = {name: port for name, port in kept.items() if name in SERVERS}
    taken = [name for name, port in ports.items() if not is_free(port)]
    if taken:
        before = text = layout.config.read_text(encoding="utf-8")
        for name, fresh in zip(taken, free_ports(len(taken)), strict=True):
            text = re.sub(rf"\b{re.escape(HOST)}:{ports[name]}\b", f"{HOST}:{fresh}", text)
            ports[name] = fresh
        if text != before:
            write_private(layout.config, text)
        _write_ports(layout, ports)
    return ports


def _found(layout: Layout) -> dict[str, str]:
    """See ``founding``, which runs as a process of its own. Raises ``StartError`` with its last words."""
    done = subprocess.run(  # noqa: S603 - our own module, with our own words
        [
            sys.executable,
            "-P",
            "-m",
            "sovereign_ext.cli.supervise.founding",
            layout.root,
            ORIGIN,
            MIRROR_NAME,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise StartError(f"the demo's keys could not be made: {words[-1]}")
    facts: dict[str, str] = json.loads(done.stdout)
    return facts


def _log_key(layout: Layout) -> str:
    try:
        return str(json.loads(layout.facts_file.read_text())["log_key"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""  # a configuration of the user's own


def _config(
    layout: Layout, facts: dict[str, str], tenant_key: Secret, admin_key: Secret, ports: dict[str, int]
) -> str:
    urls = {name.replace("-", "_"): f"http://{HOST}:{ports[name]}" for name in PROVIDERS}
    return _TEMPLATE.substitute(
        urls,
        **facts,
        admin_hash=hash_key(admin_key.reveal()),
        tenant_hash=hash_key(tenant_key.reveal()),
        provider_key_env=PROVIDER_KEY_ENV,
        origin=ORIGIN,
        mirror=f"{HOST}:{ports[MIRROR]}",
        verifier=f"{HOST}:{ports[VERIFIER]}",
        sealed=f"{HOST}:{ports[sealed.PROVIDER]}",
        sealed_provider=sealed.PROVIDER,
        deployment=sealed.DEPLOYMENT,
        model=sealed.MODEL,
        tls_root=sealed.Places(layout.trust).root,
        spiffe_id=sealed.SPIFFE_ID,
        issuer=sealed.ISSUER,
        measurement=sealed.MEASUREMENT,
    )
