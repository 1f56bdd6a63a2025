"""Loading ``sovereign.yaml``: what is accepted, and how every fault is reported."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.config.load import MAX_FILE_BYTES, digest_of, load, parse
from sovereign_ext.config.model import Capability, Config, ProviderKind
from sovereign_ext.config.trust import Tier
from sovereign_ext.errors import ConfigError, ConfigErrors

GOOD = Template("""\
version: 1
admins:
  - id: ops
    keys: [{id: ops-1, hash: "sha256:$a"}]
tenants:
  - id: acme
    keys:
      - id: acme-1
        hash: "sha256:$b"
        expires_at: 2027-01-31
    policies: [any, gold]
    default_policy: any
policies:
  - id: any
  - id: gold
    required_tier: witnessed
    providers: [east, [west, local]]
    fallback: {enabled: false}
models:
  - id: mayo/m
providers:
  - {id: east, kind: openai, endpoint: "https://east.example/v1", credential: {env: EAST_KEY}}
  - {id: west, kind: vllm, endpoint: "https://west.example/v1"}
  - {id: local, kind: ollama, endpoint: "http://127.0.0.1:11434"}
deployments:
  - {id: m-east, model: mayo/m, provider: east, upstream_model: m1}
  - {id: m-west, model: mayo/m, provider: west, upstream_model: m2, capabilities: [chat, embeddings]}
""").substitute(a="a" * 64, b="b" * 64)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f")
    return [str(fault) for fault in caught.value.faults]


def test_a_good_file_becomes_values() -> None:
    """Defaults are filled in, references stay ids, dates are in UTC."""
    config = parse(GOOD)
    assert config.tenants[0].keys[0].expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert config.policies[0].fallback.max_attempts == 4
    assert config.policies[1].required_tier is Tier.WITNESSED
    assert config.policies[1].groups == (frozenset({"east"}), frozenset({"west", "local"}))
    assert config.policies[1].named_providers == {"east", "west", "local"}
    assert config.policies[0].named_providers is None
    assert config.providers[2].kind is ProviderKind.OLLAMA
    assert config.deployments[1].capabilities == (Capability.CHAT, Capability.EMBEDDINGS)


def test_the_smallest_file_is_only_a_version() -> None:
    """A gateway without tenants is of no use but not wrong."""
    assert parse("version: 1") == Config(version=1)


FAULTS = [
    ("a duplicated field", "version: 1\n", "version: 1\nversion: 1\n",
     "f:2: version: given twice, first on line 1"),
    ("an unknown field", "  - id: any\n", "  - id: any\n    requird_tier: open\n",
     "f:15: policies[0].requird_tier: unknown field; did you mean required_tier?"),
    ("an unknown section", "models:", "modles:", "f:19: modles: unknown field; did you mean models?"),
    ("a missing field", "    default_policy: any\n", "", "f:6: tenants[0].default_policy: is required"),
    ("a number for text", "- id: acme\n", "- id: 12\n",
     'f:6: tenants[0].id: expected text, got `12`, which YAML reads as a number; put it in quotes: "12"'),
    ("no for text", "- id: acme\n", "- id: no\n",
     'f:6: tenants[0].id: expected text, got `no`, which YAML reads as false; put it in quotes: "no"'),
    ("text for a boolean", "enabled: false", 'enabled: "false"',
     "f:18: policies[1].fallback.enabled: expected true or false, got text"),
    ("text for a number", "enabled: false", 'max_attempts: "3"',
     "f:18: policies[1].fallback.max_attempts: expected a whole number, got text"),
    ("a boolean for a number", "enabled: false", "max_attempts: on",
     "f:18: policies[1].fallback.max_attempts: expected a whole number, got `on`, which YAML reads as true"),
    ("a number out of range", "enabled: false", "max_attempts: 0",
     "f:18: policies[1].fallback.max_attempts: must be at least 1"),
    ("a mapping for a list", "policies: [any, gold]", "policies: {any: gold}",
     "f:11: tenants[0].policies: expected a list, got a mapping"),
    ("text for a mapping", "fallback: {enabled: false}", "fallback: none",
     "f:18: policies[1].fallback: expected a mapping of fields, got text"),
    ("an upper-case id", "{id: east,", "{id: East,", "f:22: providers[0].id: expected an id: lower-case"),
    ("an unknown kind", "kind: vllm", "kind: vlm",
     "f:23: providers[1].kind: expected 'openai', 'vllm', 'ollama', 'anthropic', 'bedrock', 'vertex' or 'mock'"),
    ("a wrong version", "version: 1", "version: 2",
     "f:1: version: expected 1, got `2`, which YAML reads as a number"),
    ("an endpoint with a password", "https://east.example/v1", "https://u:p@east.example/v1",
     "f:22: providers[0].endpoint: expected a base URL"),
    ("two credential sources", "env: EAST_KEY", "env: EAST_KEY, file: /k",
     "f:22: providers[0].credential: give exactly one of env, file"),
    ("a dangling policy", "[any, gold]", "[any, gld]",
     "f:11: tenants[0].policies[1]: there is no policy 'gld'; did you mean 'gold'?"),
    ("a default that is not allowed", "default_policy: any", "default_policy: other",
     "f:12: tenants[0].default_policy: is not among this tenant's policies"),
    ("a dangling provider in a group", "[west, local]", "[west, locl]",
     "f:17: policies[1].providers[1][1]: there is no provider 'locl'; did you mean 'local'?"),
    ("a provider twice in a chain", "[west, local]", "[west, east]",
     "f:17: policies[1].providers[1][1]: 'east' appears twice"),
    ("an empty group", "[west, local]", "[]", "f:17: policies[1].providers[1]: needs at least 1 in the list"),
    ("a dangling model", "id: m-east, model: mayo/m", "id: m-east, model: mayo/x",
     "f:26: deployments[0].model: there is no model 'mayo/x'; did you mean 'mayo/m'?"),
    ("a dangling deployment provider", "provider: west", "provider: wst",
     "f:27: deployments[1].provider: there is no provider 'wst'"),
    ("a duplicate id", "id: m-west", "id: m-east", "f:27: deployments[1].id: 'm-east' appears twice"),
    ("one key of two owners", "b" * 64, "a" * 64,
     "f:9: tenants[0].keys[0].hash: the same key as admins[0].keys[0]; a key belongs to one owner"),
    ("a date that is a number", "2027-01-31", "20270131",
     "f:10: tenants[0].keys[0].expires_at: expected a date"),
    ("a day that does not exist", "2027-01-31", "2027-02-30",
     "f:10: tenants[0].keys[0].expires_at: expected a date"),
    ("a key that is no text", "  - id: any\n", "  - id: any\n    on: true\n",
     "f:15: policies[0]: `on` is not text to YAML; put the name in quotes"),
    ("a tag", "id: acme\n", "id: !!python/object:os.system acme\n",
     "f:6: tenants[0].id: YAML tags are not supported here"),
    ("a tab", "  - id: any\n", "\t- id: any\n", "f:14: not valid YAML"),
    ("a second document", "models:", "---\nmodels:", "f:19: not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_a_fault_names_line_field_and_reason(old: str, new: str, expected: str) -> None:
    """One edit of a good file gives one fault, in its place and in words."""
    assert GOOD.count(old) == 1
    found = faults(GOOD.replace(old, new))
    assert any(fault.startswith(expected) for fault in found), found
    if old not in {"{id: east,", "models:"}:  # whoever refers to the old id is then wrong, too
        assert len(found) == 1, found


KEYS_BY_URL = """\
version: 1
providers:
  - id: p
    kind: vllm
    endpoint: https://p/v1
    evidence:
      url: http://p/attest
      jwks_url: "%s"
      measurements: [m]
"""


@pytest.mark.parametrize(
    "url",
    [
        "https://keys.example/jwks",
        "http://127.0.0.1:1/jwks",
        "http://127.9.9.9/jwks",
        "http://[::1]:1/jwks",
        "http://localhost/jwks",
    ],
)
def test_keys_of_evidence_may_come_over_tls_or_from_this_host(url: str) -> None:
    """Nobody between can change them there."""
    evidence = parse(KEYS_BY_URL % url, "f").providers[0].evidence
    assert evidence is not None
    assert evidence.jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/jwks",
        "http://localhost.example/jwks",
        "http://keys.example/jwks",
        "http://127.0.0.1.example/jwks",
        "http://[::2]/jwks",
    ],
)
def test_keys_of_evidence_that_somebody_could_change_are_a_fault(url: str) -> None:
    """Told by the file's check, not once they are needed. Documents that are signed may come over http."""
    reason = "must be https, or on this host: who changes keys on their way can sign anything"
    assert faults(KEYS_BY_URL % url) == [f"f:8: providers[0].evidence.jwks_url: {reason}"]


def test_a_provider_of_kind_bedrock_takes_aws() -> None:
    """Its region is signed into every call; without it there would be none."""
    text = "version: 1\nproviders:\n  - {id: p, kind: bedrock, endpoint: 'https://p'%s}\n"
    assert faults(text % "") == ["f:3: providers[0]: a provider of kind bedrock takes aws"]
    aws = parse(text % ", aws: {region: eu-central-1}", "f").providers[0].aws
    assert aws is not None
    assert aws.region == "eu-central-1"


def test_all_faults_are_reported_at_once_in_file_order() -> None:
    """YAML, shape and reference faults of one file come together."""
    text = GOOD.replace("- id: acme\n", "- id: no\n").replace("[any, gold]", "[any, gld]")
    text = text.replace("id: m-west", "id: m-east").replace("models:\n", "models:\nmodels:\n")
    text = text.replace("kind: vllm", "kind: x")
    lines = [int(fault.split(":")[1]) for fault in faults(text)]
    assert lines == sorted(lines)
    assert len(lines) >= 5


@pytest.mark.parametrize(
    "secret", ["sk-router-" + "x" * 49, "sk-proj-abcdefgh", "correct horse battery staple"]
)
@pytest.mark.parametrize(
    "field", ["policies: [any, gold]", "default_policy: any", "kind: vllm", "expires_at: 2027-01-31"]
)
def test_a_secret_in_the_wrong_field_is_not_shown(secret: str, field: str) -> None:
    """Reports end up in logs and terminals; what does not look like an id of ours is not repeated."""
    name = field.partition(":")[0]
    value = f'["{secret}"]' if name == "policies" else f'"{secret}"'
    text = GOOD.replace(field, f"{name}: {value}")
    assert secret in text
    assert secret not in "\n".join(faults(text))


def test_the_key_itself_instead_of_its_hash_is_called_a_leak() -> None:
    """The commonest dangerous mistake gets its own words."""
    found = faults(GOOD.replace("sha256:" + "b" * 64, "sk-router-" + "x" * 49))
    assert "revoke that key" in found[0]
    assert "xxx" not in found[0]


@pytest.mark.services
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "[]",
        "just text",
        "&a [*a]",
        "&a {version: *a}",
        "&a [*a, *a, *a]",
        "version: 1\nmodels: &m\n  - <<: *m\n",
        "version: 1\nx: &x {<<: *x}",
        "[" * 5000,
        "{a: " * 900 + "1" + "}" * 900,
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)),
        "version: 1" + "0" * 5000,
        "version: 0x" + "f" * 5000,
        "version: .nan",
        "version: !!int x",
        "version: !!timestamp x",
        "version: !!binary x",
        'version: "\\ud800"',
        "\ud800",
        "version: \x00",
        "? [a]\n: b",
        "version: 1\ntenants: [{keys: 5, policies: x}, 3, null, [1]]",
    ],
)
def test_hostile_text_gives_faults_and_nothing_else(text: str) -> None:
    """Bombs, cycles, odd tags and broken characters end in a report, and in a short one."""
    assert 0 < len(faults(text)) <= 250


def test_merge_keys_and_anchors_work() -> None:
    """``<<`` shares fields; what is set next to it wins, and lines still point to where the text is."""
    text = GOOD.replace(
        '  - {id: west, kind: vllm, endpoint: "https://west.example/v1"}',
        '  - &base {id: west, kind: vllm, endpoint: "https://west.example/v1"}\n  - {<<: *base, id: west2}',
    )
    assert [provider.id for provider in parse(text).providers] == ["east", "west", "west2", "local"]
    assert faults(text.replace("id: west2", "id: west"))[0] == "f:24: providers[2].id: 'west' appears twice"


def test_expired_and_revoked_keys_are_not_faults() -> None:
    """History stays in the file."""
    key = (
        parse(GOOD.replace("2027-01-31", "1999-01-01\n        revoked_at: 2000-01-01T10:00:00+02:00"))
        .tenants[0]
        .keys[0]
    )
    assert key.revoked_at == datetime(2000, 1, 1, 8, tzinfo=UTC)


def test_load_reads_bytes_and_gives_their_digest(tmp_path: Path) -> None:
    """A byte order mark is accepted; the digest is over the bytes as they are."""
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    loaded = load(file)
    assert loaded.config == parse(GOOD)
    assert loaded.digest == digest_of(file.read_bytes())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file"),
        (b"version: 1\n\xff", ":2: is not UTF-8 text"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than"),
    ],
    ids=["missing", "not UTF-8", "huge"],
)
def test_an_unreadable_file_is_one_clear_fault(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """Whatever keeps the file from being read is one line with its name."""
    file = tmp_path / "s.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert len(caught.value.faults) == 1


def test_a_directory_is_one_clear_fault(tmp_path: Path) -> None:
    """The path may name anything."""
    with pytest.raises(ConfigErrors, match="cannot be read: Is a directory"):
        load(tmp_path)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["id", "keys", "any", "gold", "sha256:" + "a" * 64, "2027-01-01", "east"])
)  # fmt: skip
names = st.text(max_size=8) | st.sampled_from(
    ["id", "keys", "hash", "policies", "tenants", "providers", "version"]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def only_config_errors(text: str) -> None:
    try:
        assert isinstance(parse(text, "f"), Config)
    except ConfigError as error:
        for fault in error.faults:
            assert "\n" not in str(fault)
            assert fault.line is None or 1 <= fault.line <= text.count("\n") + text.count("\r") + 10


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_arbitrary_text_raises_nothing_but_config_errors(text: str) -> None:
    """Whatever the bytes, the answer is a configuration or a report with one line per fault."""
    only_config_errors(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abv1:-[]{}&*!<>|#'\"%@ \n\t,?~.\\", max_size=60))
def test_arbitrary_yaml_punctuation_raises_nothing_but_config_errors(text: str) -> None:
    """The same for text that is nearly YAML."""
    only_config_errors(text)


@pytest.mark.services
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_good_file_with_anything_anywhere_raises_nothing_but_config_errors(data: st.DataObject) -> None:
    """Any value may take the place of any other."""
    document = copy.deepcopy(yaml.safe_load(GOOD.replace("2027-01-31", '"2027-01-31"')))
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        step = data.draw(st.sampled_from(keys))
        if not (isinstance(here[step], dict | list) and here[step]) or data.draw(st.booleans()):
            here[step] = data.draw(trees)
            break
        here = here[step]
    only_config_errors(yaml.safe_dump(document, allow_unicode=True))
