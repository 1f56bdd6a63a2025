"""The block ``findings``: who may be told, where, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovereign_ext.config.load import load, parse
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.webhook.hook import hooks

SECRET = "whsec_" + "A" * 43 + "="
GOOD = "{id: siem, url: 'https://siem.test/hook', secrets: [{env: SIEM}]}"


def text(*webhooks: str) -> str:
    return "version: 1\nfindings:\n  webhooks:\n" + "".join(f"    - {each}\n" for each in webhooks)


def faults(*webhooks: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(text(*webhooks))
    return [(fault.field, fault.reason) for fault in caught.value.faults]


def test_what_is_left_out_asks_for_everything_from_now_on() -> None:
    (webhook,) = parse(text(GOOD)).findings.webhooks
    assert (webhook.tenants, webhook.kinds, webhook.from_index, webhook.give_up_hours) == ((), (), None, 72)
    assert parse("version: 1\n").findings.webhooks == ()


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ("url: 'http://siem.test/hook'", "url", "must be https, or on this host"),
        ("url: 'https://user:pw@siem.test/'", "url", ""),
        ("url: 'https://[half/hook'", "url", ""),
        ("url: 'ftp://siem.test/'", "url", ""),
        ("secrets: []", "secrets", ""),
        ("secrets: [{env: A}, {env: B}, {env: C}, {env: D}, {env: E}]", "secrets", ""),
        ("secrets: [{}]", "secrets[0]", "give exactly one of env, file"),
        ("kinds: [gihtub]", "kinds", "there is no kind or family of credentials 'gihtub'"),
        ("from_index: -1", "from_index", ""),
        ("give_up_hours: 0", "give_up_hours", ""),
        ("ca_file: a.pem, ca: x", "", "give ca_file or ca, not both"),
        ("secret: whsec_AAAA", "secret", ""),
    ],
)
def test_a_mistake_is_named_with_its_place(change: str, field: str, reason: str) -> None:
    """A secret in the file is refused as a field that there is not, and not shown."""
    name = change.partition(":")[0]
    rest = ", ".join(each for each in (
        "id: siem", "url: 'https://siem.test/hook'", "secrets: [{env: SIEM}]"
    ) if not each.startswith(f"{name}:"))  # fmt: skip
    found = faults(f"{{{rest}, {change}}}")
    place = "findings.webhooks[0]" + (f".{field}" if field else "")
    assert reason in dict(found)[place]
    assert "whsec_AAAA" not in str(found)
    assert "pw@" not in str(found)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/h", "http://localhost/h", "http://[::1]:9/h", "https://10.0.0.7/h"]
)
def test_https_anywhere_and_http_on_this_host(url: str) -> None:
    """The operator names the receiver, so it may be in the own network."""
    (webhook,) = parse(text(f"{{id: siem, url: '{url}', secrets: [{{env: SIEM}}]}}")).findings.webhooks
    assert webhook.url == url


def test_ids_are_unique() -> None:
    assert faults(GOOD, GOOD) == [("findings.webhooks", "two webhooks have the same id")]


def test_its_roots_are_a_document_of_the_configuration(tmp_path: Path) -> None:
    """So that a change of the file is a change of the configuration, and a missing one a fault."""
    file = tmp_path / "sovereign.yaml"
    file.write_text(text(GOOD.replace("}]", "}], ca_file: siem.pem")))
    with pytest.raises(ConfigError, match=r"findings\.webhooks\[0\]\.ca_file"):
        load(file)
    (tmp_path / "siem.pem").write_text("no certificate")
    loaded = load(file)
    with pytest.raises(ConfigError, match=r"findings\.webhooks\[0\]\.ca_file: holds no PEM certificate"):
        hooks(loaded.config.findings, loaded.files.__getitem__, lambda *_: Secret(SECRET))


def test_families_stand_for_their_kinds() -> None:
    found = hooks(
        parse(text(GOOD.replace("}]", "}], kinds: [github, jwt]"))).findings,
        {}.__getitem__,
        lambda *_: Secret(SECRET),
    )
    assert found[0].kinds == {"github-token", "github-fine-grained-token", "jwt"}


def test_a_secret_that_is_none_is_a_fault_before_anything_is_delivered() -> None:
    """Named by its place, never shown."""

    def read(source: SecretSource, field: str) -> Secret:
        return Secret(SECRET if field.endswith("[0]") else "hunter2")

    findings = parse(text(GOOD.replace("}]", "}, {file: new}]"))).findings
    with pytest.raises(ConfigError) as caught:
        hooks(findings, {}.__getitem__, read)
    assert caught.value.field == "findings.webhooks[0].secrets[1]"
    assert caught.value.reason == "does not begin with whsec_"
