"""The files that the configuration refers to: read with it, part of its digest, followed like it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sovereign_ext.config.documents import Document
from sovereign_ext.config.live import Follower, Live
from sovereign_ext.config.load import Loaded, base_of, digest_of, load, parse
from sovereign_ext.config.model import Deployment
from sovereign_ext.config.standing import Peer, Standing
from sovereign_ext.config.trust import Tier
from sovereign_ext.errors import ConfigError, ConfigErrors
from sovereign_ext.policy.evaluate import routable

TEXT = """\
version: 1
trust:
  witnesses:
    - {id: fda, key_file: keys/fda.pem, scopes: [clinical]}
  statements: [statements/*.json, one.json]
models:
  - {id: one}
"""

FILES = {"keys/fda.pem": b"key", "statements/a.json": b"a", "statements/b.json": b"b", "one.json": b"one"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "sovereign.yaml"
    path.write_text(TEXT)
    return path


def faults(file: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    return [str(fault) for fault in caught.value.faults]


def test_documents_are_read_relative_to_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process was started; each once, in a fixed order."""
    expected = (
        Document("keys/fda.pem", b"key"),
        Document("statements/a.json", b"a", statement=True),
        Document("statements/b.json", b"b", statement=True),
        Document("one.json", b"one", statement=True),
    )
    assert load(file).documents == expected
    monkeypatch.chdir(file.parent)
    assert load("sovereign.yaml").documents == expected
    (file.parent / "sub").mkdir()
    monkeypatch.chdir(file.parent / "sub")
    assert load("../sovereign.yaml").documents == expected
    assert base_of("sovereign.yaml") == Path()


EVERY_FIELD = """\
version: 1
trust:
  publishers: [{id: a, key_file: f1}]
  witnesses: [{id: a, key_file: f2, scopes: [s]}]
  observers: [{id: a, key_file: f3}]
  statements: ["*.json"]
models: [{id: m, manifest: f4.json, publisher: a}]
providers:
  - id: p
    kind: vllm
    endpoint: https://p/v1
    key_file: f5
    evidence: {url: "https://p/e", jwks_file: f6, root_file: f7, ca_file: f8, measurements: [m]}
log:
  policy_file: f9
  mirrors: [{url: "https://m", key: "m+01234567+AAAA", ca_file: f10}]
  anchors: [{id: r, url: "https://r", key_file: f11, ca_file: f12}]
"""


def test_every_field_that_names_a_file_is_read(tmp_path: Path) -> None:
    """And a file that something else refers to is no statement, though a pattern finds it."""
    path = tmp_path / "sovereign.yaml"
    path.write_text(EVERY_FIELD)
    wanted = {"f4.json" if n == 4 else f"f{n}" for n in range(1, 13)}
    missing = {
        fault.rpartition(" cannot be read")[0].rpartition(": ")[2].strip("'") for fault in faults(path)
    }
    assert missing == wanted
    for name in wanted:
        (tmp_path / name).write_bytes(name.encode())
    documents = load(path).documents
    assert {document.path: document.raw for document in documents} == {n: n.encode() for n in wanted}
    assert not any(document.statement for document in documents)


def test_a_file_without_documents_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    """As it always had; with documents it covers them all."""
    path = tmp_path / "sovereign.yaml"
    path.write_text("version: 1\n")
    assert load(path).digest == digest_of(b"version: 1\n")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a key": lambda base: (base / "keys/fda.pem").write_bytes(b"kez"),
    "a statement": lambda base: (base / "statements/a.json").write_bytes(b"A"),
    "a new statement": lambda base: (base / "statements/c.json").write_bytes(b"c"),
    "a statement less": lambda base: (base / "statements/b.json").unlink(),
    "another name": lambda base: (base / "statements/b.json").rename(base / "statements/c.json"),
    "contents exchanged": lambda base: (
        (base / "statements/a.json").write_bytes(b"b"),
        (base / "statements/b.json").write_bytes(b"a"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_document_is_a_changed_configuration(name: str, file: Path) -> None:
    """Noticed by the follower once, with another digest, while the file itself stays as it is."""
    before = load(file)
    follower = Follower(file, before.digest)
    assert [follower.poll() for _ in range(3)] == [None] * 3
    CHANGES[name](file.parent)
    found = [outcome for outcome in (follower.poll() for _ in range(5)) if outcome is not None]
    assert [type(outcome) for outcome in found] == [Loaded]
    assert isinstance(found[0], Loaded)
    assert found[0].digest != before.digest
    assert found[0] == load(file)


def test_what_no_pattern_finds_changes_nothing(file: Path) -> None:
    """Hidden files, directories and other names."""
    follower = Follower(file, load(file).digest)
    assert follower.poll() is None
    (file.parent / "statements/.tmp.json").write_bytes(b"x")
    (file.parent / "statements/x.txt").write_bytes(b"x")
    (file.parent / "statements/dir.json").mkdir()
    assert [follower.poll() for _ in range(4)] == [None] * 4


def test_a_missing_document_is_a_fault_until_it_is_there(file: Path) -> None:
    """Reported once, and mended by the document alone."""
    follower = Follower(file, load(file).digest)
    assert follower.poll() is None
    key = file.parent / "keys/fda.pem"
    key.unlink()
    found = [outcome for outcome in (follower.poll() for _ in range(5)) if outcome is not None]
    assert len(found) == 1
    assert isinstance(found[0], ConfigError)
    key.write_bytes(b"key")
    found = [outcome for outcome in (follower.poll() for _ in range(5)) if outcome is not None]
    assert [type(outcome) for outcome in found] == [Loaded]


def test_a_new_reference_is_followed_at_once(file: Path) -> None:
    """Also one of a text whose documents are not all there yet."""
    follower = Follower(file, load(file).digest)
    assert follower.poll() is None
    file.write_text(TEXT.replace("one.json", "two.json"))
    found = [outcome for outcome in (follower.poll() for _ in range(5)) if outcome is not None]
    assert [type(outcome) for outcome in found] == [ConfigErrors]
    (file.parent / "two.json").write_bytes(b"two")
    found = [outcome for outcome in (follower.poll() for _ in range(5)) if outcome is not None]
    assert [type(outcome) for outcome in found] == [Loaded]


def test_a_change_between_loading_and_following_is_noticed(file: Path) -> None:
    """The digest is what the follower starts from."""
    digest = load(file).digest
    (file.parent / "one.json").write_bytes(b"two")
    assert isinstance(Follower(file, digest).poll(), Loaded)


def test_the_symlink_swap_of_a_config_map_takes_documents_along(tmp_path: Path) -> None:
    """File and documents change in one step; no mixture of two versions is ever seen."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "sovereign.yaml").write_text(
            f"version: 1\nmodels: [{{id: {version}}}]\ntrust: {{statements: ['s.json']}}\n"
        )
        (tmp_path / version / "s.json").write_text(version)
    (tmp_path / "..data").symlink_to("v1")
    for name in ("sovereign.yaml", "s.json"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    path = tmp_path / "sovereign.yaml"
    follower = Follower(path, load(path).digest)
    assert follower.poll() is None
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    (found,) = [outcome for outcome in (follower.poll() for _ in range(4)) if outcome is not None]
    assert isinstance(found, Loaded)
    assert (found.config.models[0].id, found.documents[0].raw) == ("v2", b"v2")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "not a regular file"),
    ],
    ids=["missing", "directory", "pipe"],
)
def test_a_document_that_cannot_be_read_is_named(
    make: Callable[[Path], object], reason: str, file: Path
) -> None:
    """With the field and its line. A pipe is not waited for."""
    key = file.parent / "keys/fda.pem"
    key.unlink()
    make(key)
    place = f"{file}:4: trust.witnesses[0].key_file"
    assert faults(file) == [f"{place}: 'keys/fda.pem' cannot be read: {reason}"]


def test_patterns_may_find_nothing_names_may_not(file: Path) -> None:
    """A directory of statements may be empty at first; a file that is named must be there."""
    for name in ("statements/a.json", "statements/b.json"):
        (file.parent / name).unlink()
    assert [document.path for document in load(file).documents] == ["keys/fda.pem", "one.json"]
    (file.parent / "one.json").unlink()
    assert faults(file) == [
        f"{file}:5: trust.statements[1]: 'one.json' cannot be read: No such file or directory"
    ]


def test_parsing_a_text_looks_at_no_document() -> None:
    """What edits the file can do so whatever became of the documents."""
    assert parse(TEXT).trust.statements == ("statements/*.json", "one.json")


class Knows:
    """An assessor for one loaded configuration."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        return Standing(tier=Tier.SEALED)


def test_live_makes_a_registry_for_every_configuration(file: Path) -> None:
    """Prepared first, used later; each snapshot keeps its own."""
    live = Live(load(file), routable, Knows)
    first = live.snapshot
    assert isinstance(first.trust, Knows)
    (file.parent / "one.json").write_bytes(b"two")
    loaded = load(file)
    prepared = live.prepare(loaded)
    assert live.snapshot is first
    assert live.use(prepared) is live.snapshot
    assert isinstance(live.snapshot.trust, Knows)
    assert (live.snapshot.trust.loaded, live.snapshot.version) == (loaded, 2)
    assert live.prepare(loaded) is live.snapshot


def test_a_registry_that_cannot_be_made_keeps_the_last_one(file: Path) -> None:
    """Revoked keys or not: a broken document never takes effect by halves."""

    def vouching(loaded: Loaded) -> Knows:
        if any(document.raw == b"broken" for document in loaded.documents):
            raise ConfigError("is broken", file="one.json")
        return Knows(loaded)

    live = Live(load(file), routable, vouching)
    first = live.snapshot
    (file.parent / "one.json").write_bytes(b"broken")
    with pytest.raises(ConfigError):
        live.prepare(load(file))
    assert live.snapshot is first
    with pytest.raises(ConfigError):
        Live(load(file), routable, vouching)


def test_without_a_registry_everything_is_open(file: Path) -> None:
    """Unknown never passes."""
    live = Live(load(file), routable)
    deployment = Deployment(id="d", model="m", provider="p", upstream_model="m")
    assert live.snapshot.trust.assess(deployment, 0).tier is Tier.OPEN
