"""`sovereign envoy render`: what it writes, that it is what is checked in, and that Envoy accepts it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from golden_world import ENVOY, XDS, Machine, read, walk
from our_scripts import script
from own_envoy import own_bootstrap

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.envoyconf import commented, notes
from sovereign_ext.envoyconf.names import DETAILS

GOLDEN = sorted(
    path for path in ENVOY.rglob("*.yaml") if "example" not in path.parts and "mesh" not in path.parts
)
SIDECAR = ENVOY / "example" / "sidecar.yaml"
GATEWAY = ENVOY / "example" / "gateway.yaml"


@pytest.mark.services
def test_it_is_what_is_checked_in(tmp_path: Path):
    """If this fails after a change that was meant, run scripts/envoy.py and look at the difference."""
    golden = script("envoy")
    golden.render(tmp_path)
    assert golden.differences(tmp_path) == []


@pytest.mark.services
@pytest.mark.parametrize(
    "name", ["gateway.yaml", "workers/gateway.yaml", "sidecar.yaml", "xds/bootstrap.yaml"]
)
def test_envoy_accepts_it(tmp_path: Path, name: str):
    """The text that is checked in, with nothing but its paths changed; `xds` brings the files that it follows."""
    done = Machine(tmp_path).validate((ENVOY / name).read_text())
    assert done.returncode == 0, done.stderr[-2000:]
    assert "deprecated" not in done.stderr.lower()


@pytest.mark.services
def test_envoy_accepts_the_pieces_in_somebody_elses_bootstrap(tmp_path: Path):
    snippet = read(ENVOY / "snippet" / "snippet.yaml")
    done = Machine(tmp_path).validate(yaml.safe_dump(own_bootstrap(snippet), sort_keys=False))
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_comment_is_said_somewhere():
    """A comment whose part is gone, or was renamed, would be lost without a word."""
    left = commented.unused([read(path) for path in GOLDEN], notes.NOTES)
    # not in the examples: SDS, proxies in front, an older Envoy (which test_envoyconf_older.py looks at)
    assert left <= {"secrets", "xff_num_trusted_hops", "clusters/attempts"}
    for path in GOLDEN:
        assert path.read_text().count("# ") >= 2, path


def test_admin_is_reached_by_nobody_else():
    """On a Unix socket that only its owner may open."""
    for name in ("gateway.yaml", "workers/gateway.yaml", "sidecar.yaml", "xds/bootstrap.yaml"):
        address = read(ENVOY / name)["admin"]["address"]
        assert address == {"pipe": {"path": "/run/sovereign/envoy-admin.sock", "mode": 0o600}}


def test_the_access_log_names_nothing_that_may_be_a_secret():
    """Only headers that hold no key, and paths without their query."""
    for name in ("gateway.yaml", "sidecar.yaml"):
        logs = [each["access_log"] for each in walk(read(ENVOY / name)) if "access_log" in each]
        assert logs
        text = str(logs)
        assert set(re.findall(r"%(?:REQ|RESP|TRAILER)\(([^)]*)\)", text)) == {
            "X-ENVOY-ORIGINAL-METHOD?:METHOD",
            "X-REQUEST-ID",
        }
        assert "%PATH(NQ)%" in text
        assert "BODY" not in text


def test_the_sidecar_listens_on_loopback_only():
    addresses = [
        each["socket_address"]["address"]
        for each in walk(read(ENVOY / "sidecar.yaml"))
        if "socket_address" in each
    ]
    assert addresses == ["127.0.0.1"]


def test_whatever_a_client_says_it_is_the_workload():
    """The header is overwritten before any filter of ours sees it."""
    (filters,) = [
        each["http_filters"]
        for each in walk(read(ENVOY / "sidecar.yaml"))
        if any(item["name"] == "sovereign.workload" for item in each.get("http_filters", ()))
    ]
    names = [each["name"] for each in filters]
    assert names.index("sovereign.workload") < names.index("envoy.filters.http.ext_proc")
    assert "OVERWRITE_IF_EXISTS_OR_ADD" in str(filters[names.index("sovereign.workload")])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--mode", "gateway", "--config", str(GATEWAY), "--workload", "spiffe://a.example/b"),
            "--mode sidecar",
        ),
        (
            ("--mode", "sidecar", "--config", str(GATEWAY), "--workload", "spiffe://a.example/b"),
            "trust_forwarded",
        ),
        (("--mode", "sidecar", "--config", str(SIDECAR), "--workload", 'a";URI=spiffe://b/c'), "SPIFFE id"),
        (("--mode", "sidecar", "--config", "no-such.yaml"), "no-such.yaml"),
    ],
)
def test_what_would_not_hold_is_refused(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    """One line on standard error, exit code 1, and nothing is written."""
    assert sovereign(["envoy", "render", "--out", "-", *options]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert said in error


def test_standard_output_is_one_document_after_the_other(capsys: pytest.CaptureFixture[str]):
    assert sovereign(["envoy", "render", "--mode", "xds", "--config", str(SIDECAR), "--out", "-"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert len(documents) == 5
    assert {"version_info", "resources"} <= set(documents[1])


def test_certificates_by_sds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """No file of ours has them: Envoy asks the service on its socket, by the names that the configuration gives."""
    text = GATEWAY.read_text()
    start, end = text.index("    certificate_file"), text.index("  http3")
    sds = "    sds: {socket: /run/spire/agent.sock, certificate: spiffe://clinic.example/gateway, roots: spiffe://clinic.example}\n"
    config = tmp_path / "sovereign.yaml"
    config.write_text(text[:start] + sds + text[end:])
    assert sovereign(["envoy", "render", "--mode", "gateway", "--config", str(config), "--out", "-"]) == 0
    document = yaml.safe_load(capsys.readouterr().out)
    assert "certificate.yaml" not in str(document)
    names = {each["name"] for each in walk(document) if "sds_config" in each}
    assert names == {"spiffe://clinic.example/gateway", "spiffe://clinic.example"}
    (cluster,) = [each for each in document["static_resources"]["clusters"] if each["name"] == "secrets"]
    assert "/run/spire/agent.sock" in str(cluster)


def test_both_filters_keep_what_the_processor_relies_on():
    """The same pieces in every mode: one source."""
    pieces = [
        sorted(str(each) for each in walk(read(path)) if "processing_mode" in each)
        for path in (
            ENVOY / "gateway.yaml",
            ENVOY / "sidecar.yaml",
            ENVOY / "snippet" / "snippet.yaml",
            XDS / "listeners.yaml",
        )
    ]
    assert all({*each} == {*pieces[0]} for each in pieces)
    assert DETAILS in str(pieces[0])
