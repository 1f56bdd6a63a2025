"""Models and their signatures: what OpenSSF's own package signs we verify, what we sign it verifies."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import MANIFEST, key, pem, signed_manifest

from sovereign_ext.cli.main import main
from sovereign_ext.errors import StatementError, VerificationError
from sovereign_ext.registry.envelope import read_public_key, seal
from sovereign_ext.registry.manifest import (
    Resource,
    Serialization,
    differences,
    manifest_of,
    root_digest,
    sign_manifest,
    verify_manifest,
)

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
SHARD_SIZE = 700_000
BIG = bytes(range(256)) * 8_192  # 2 MiB: more than one read, three shards

SHAPES: dict[str, dict[str, bytes]] = {
    "flat": {"config.json": b"{}", "weights.safetensors": b"\0" * 1000},
    "nested": {"a/b/c/d": b"1", "a/b/e": b"2", "f": b"3", "/".join("x" * 30): b"4"},
    "order": {name: name.encode() for name in ("a/b", "a.b", "a-b", "a b", "ab", "A", "B/c", "a!/b", "aa/b")},
    "odd names": {
        name: name.encode() for name in ("ä", "日本/語", "x:0:2", 'q"', "new\nline", "back\\slash", "~")
    },
    "big": {"weights": BIG, "weights2": BIG[1:]},
    "empty files": {"empty": b"", "dir/empty": b"", "same": b""},
    "git": {
        "weights": b"1",
        ".git/config": b"g",
        ".git/objects/aa": b"g",
        ".gitattributes": b"g",
        ".gitignore": b"g",
        ".github/workflow": b"g",
        ".gitmodules": b"kept",
        "sub/.git": b"kept",
        ".hidden/file": b"kept",
    },
    "one file": {"": b"all of it"},
}


@dataclass
class Judged:
    """A model of one shape with both signatures, and what the package said of ours."""

    path: Path
    ours: Path
    theirs: Path
    said_of_ours: str
    said_of_tampered: str


def lay_out(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name if name else root
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if root.is_dir():
        (root / "an empty directory").mkdir()


def tampered(signature: Path) -> Path:
    """The payload says another digest for the last file; the signature stays."""
    bundle = json.loads(signature.read_bytes())
    payload = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][-1]["digest"] = "00" * 32
    bundle["dsseEnvelope"]["payload"] = b64encode(json.dumps(payload).encode()).decode()
    other = signature.with_suffix(".tampered")
    other.write_text(json.dumps(bundle))
    return other


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        assert main(["statement", "keygen", str(directory / name)]) == 0
    assert main(["statement", "keygen", "--ed25519", str(directory / "ed")]) == 0
    return directory


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Judged]:
    """Every shape, signed by both, in one run of the package."""
    base = tmp_path_factory.mktemp("models")
    models, found = {}, {}
    for name, files in SHAPES.items():
        path = base / name.replace(" ", "-") / "model"
        lay_out(path, files)
        # Once, our signature lies in the model: no part of what it signs itself, but of what they sign later.
        inside = path if name == "nested" else path.parent
        ours, theirs = inside / "ours.sig", path.parent / "theirs.sig"
        assert main(["model", "sign", str(path), "--key", f"{keys}/mine.pem", "-o", str(ours)]) == 0
        models[name] = {"path": str(path), "sign": str(theirs), "verify": [str(ours)]}
        bad = tampered(ours)
        bad = bad.replace(path.parent / bad.name)
        models[name]["verify"].append(str(bad))
        found[name] = Judged(path, ours, theirs, "", "")
    said = ask(
        {
            "key": f"{keys}/mine.pem",
            "public": f"{keys}/mine.pub.pem",
            "models": models,
            "shard_size": SHARD_SIZE,
        }
    )
    for name, each in found.items():
        each.said_of_ours, each.said_of_tampered = said[name]
    return found


def ask(given_: dict[str, Any]) -> dict[str, list[str]]:
    """Run model-signing where the judges are installed."""
    python = Path(os.environ.get("SOVEREIGN_JUDGES_PYTHON") or ROOT / ".venv-judges" / "bin" / "python")
    assert python.exists(), f"no interpreter with the judges at {python}: run `make test`, which sets it up"
    script = Path(__file__).parent / "judges" / "openssf.py"
    done = subprocess.run(
        [python, script], input=json.dumps(given_), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def verify(model: Path, signature: Path, public: Path) -> int:
    return main(["model", "verify", str(model), "--signature", str(signature), "--key", str(public)])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_package_verifies_what_we_sign(shape: str, judged: dict[str, Judged]) -> None:
    """And refuses it once it says something else, so it does look."""
    assert judged[shape].said_of_ours == ""
    assert judged[shape].said_of_tampered != ""


@pytest.mark.parametrize("shape", SHAPES)
def test_we_verify_what_the_package_signs(shape: str, judged: dict[str, Judged], keys: Path) -> None:
    """By files and by shards; not with another key."""
    each = judged[shape]
    shards = Path(f"{each.theirs}.shards")
    assert verify(each.path, each.theirs, keys / "mine.pub.pem") == 0
    assert verify(each.path, shards, keys / "mine.pub.pem") == 0
    assert verify(each.path, each.theirs, keys / "other.pub.pem") == 1


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "nested"])
def test_both_find_the_same_root_digest(
    shape: str, judged: dict[str, Judged], capsys: pytest.CaptureFixture[str]
) -> None:
    """What an operator measures is what a publisher signs."""
    each = judged[shape]
    payload = json.loads(b64decode(json.loads(each.theirs.read_bytes())["dsseEnvelope"]["payload"]))
    assert main(["model", "digest", str(each.path)]) == 0
    assert capsys.readouterr().out == f"sha256:{payload['subject'][0]['digest']['sha256']}\n"


# -- changes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path, keys: Path) -> Path:
    """A signed model, its signature beside it."""
    path = tmp_path / "model"
    lay_out(path, {"a": b"1", "d/b": b"2", ".git/config": b"g"})
    assert main(["model", "sign", str(path), "--key", f"{keys}/mine.pem", "-o", f"{tmp_path}/sig"]) == 0
    return path


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "changed": (lambda model: (model / "a").write_bytes(b"2"), "a: has another content\n"),
    "added": (lambda model: (model / "d/new").write_bytes(b"2"), "d/new: not signed\n"),
    "removed": (lambda model: (model / "d/b").unlink(), "d/b: missing\n"),
    "moved": (lambda model: (model / "a").rename(model / "e"), "a: missing\ne: not signed\n"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_a_model_is_named(
    name: str, model: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File by file, with exit code 1."""
    assert verify(model, model.parent / "sig", keys / "mine.pub.pem") == 0
    capsys.readouterr()
    change, lines = CHANGES[name]
    change(model)
    assert verify(model, model.parent / "sig", keys / "mine.pub.pem") == 1
    out, err = capsys.readouterr()
    assert out == lines
    assert "is not what was signed" in err


def test_a_new_name_or_git_s_own_files_change_nothing(model: Path, keys: Path) -> None:
    """The model's name and what git keeps are not part of it."""
    other = model.rename(model.parent / "other")
    (other / ".git/config").write_bytes(b"changed")
    assert verify(other, other.parent / "sig", keys / "mine.pub.pem") == 0


def test_links_are_refused_unless_allowed(
    model: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link could point to another content tomorrow, or to a secret; one to a directory is never followed."""
    (model / "link").symlink_to("a")
    assert main(["model", "digest", str(model)]) == 1
    assert "is a symbolic link" in capsys.readouterr().err
    sign = ["model", "sign", str(model), "--key", f"{keys}/mine.pem", "-o", f"{model.parent}/linked"]
    assert main([*sign, "--allow-symlinks"]) == 0
    assert verify(model, model.parent / "linked", keys / "mine.pub.pem") == 0
    (model / "loop").symlink_to(model)
    assert main(["model", "digest", "--allow-symlinks", str(model)]) == 1


def test_pipes_and_missing_models_are_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, without waiting for somebody to write into the pipe."""
    os.mkfifo(model / "pipe")
    assert main(["model", "digest", str(model)]) == 1
    assert main(["model", "digest", str(model / "nowhere")]) == 1
    err = capsys.readouterr().err.splitlines()
    assert [line.endswith("is neither a file nor a directory") for line in err] == [True, True]


def test_an_ed25519_key_signs_no_model(model: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The package could not verify it; nor is such a signature accepted."""
    signature = f"{model.parent}/ed"
    assert main(["model", "sign", str(model), "--key", f"{keys}/ed.pem", "-o", signature]) == 1
    assert "ECDSA P-256" in capsys.readouterr().err
    assert not Path(signature).exists()
    with pytest.raises(VerificationError, match="ECDSA only"):
        verify_manifest(signed_manifest().raw, read_public_key(pem("tuv-ed")))


# -- the bundle --------------------------------------------------------------------------------------------------

PUBLISHER = read_public_key(pem("publisher"))


def test_every_single_bit_of_a_bundle_counts() -> None:
    """Outside of the parts that are passed over (an empty ``tlogEntries``)."""
    raw = signed_manifest().raw
    assert verify_manifest(raw, PUBLISHER) == MANIFEST
    accepted = []
    for place in range(len(raw)):
        for bit in range(8):
            other = bytearray(raw)
            other[place] ^= 1 << bit
            try:
                verify_manifest(bytes(other), PUBLISHER)
            except VerificationError:
                continue
            accepted.append((place, bit))
    assert accepted == []


def resigned(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A manifest of another content that the publisher did sign."""
    bundle = json.loads(signed_manifest().raw)
    payload = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    change(payload)
    bundle["dsseEnvelope"] = json.loads(seal(json.dumps(payload).encode(), key("publisher")))
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda p: p.update(predicateType="https://model_signing/Digests/v0.1"), "predicateType"),
        (lambda p: p.update(_type="x"), "_type"),
        (lambda p: p["subject"].append(p["subject"][0]), "subject"),
        (lambda p: p["subject"][0]["digest"].update(sha256="0" * 64), "subject[0].digest"),
        (lambda p: p["predicate"]["resources"].reverse(), "subject[0].digest"),
        (lambda p: p["predicate"]["resources"][0].update(name="weights"), "predicate.resources"),
        (lambda p: p["predicate"]["resources"][0].update(digest="0"), "predicate.resources[0].digest"),
        (lambda p: p["predicate"]["serialization"].update(method="x"), "predicate.serialization.method"),
        (
            lambda p: p["predicate"]["serialization"].update(method="shards", shard_size=2.5),
            "predicate.serialization.shard_size",
        ),
    ],
    ids=[
        "before 1.0",
        "type",
        "two subjects",
        "root digest",
        "order",
        "a name twice",
        "digest",
        "method",
        "shard size",
    ],
)
def test_what_a_publisher_signed_must_make_sense(change: Callable[[dict[str, Any]], Any], field: str) -> None:
    """A good signature does not excuse a root digest that is not the files'."""
    with pytest.raises(StatementError) as caught:
        verify_manifest(resigned(change), PUBLISHER)
    assert caught.value.field == field


def test_members_of_later_versions_are_passed_over() -> None:
    """As v1.0 of the format asks verifiers."""
    raw = resigned(lambda p: p["predicate"].update(model_card={"temperature": 0.7}))
    assert verify_manifest(raw, PUBLISHER) == MANIFEST


names = st.lists(
    st.text("ab./-é:", min_size=1, max_size=8).filter(lambda name: name.strip("/.") == name), unique=True
)


@given(names, st.randoms(use_true_random=False))
def test_the_root_digest_does_not_depend_on_the_order_of_listing(names: list[str], random: Any) -> None:
    """Files come from a directory in any order."""
    files = [Resource(name, bytes([index]).hex() * 32) for index, name in enumerate(names)]
    shuffled = random.sample(files, len(files))
    one, other = manifest_of("m", files), manifest_of("m", shuffled)
    assert one == other
    assert one.digest == root_digest(one.resources)
    assert differences(one, other) == ()


def test_shards_of_one_file_are_in_the_order_of_the_file() -> None:
    """By number, not by digits."""
    made = [Resource(f"w:{start}:{start + 5}", "00" * 32) for start in (0, 5, 10, 100, 15)]
    manifest = manifest_of("m", made, Serialization(method="shards", shard_size=5))
    assert [item.name for item in manifest.resources] == [
        "w:0:5",
        "w:5:10",
        "w:10:15",
        "w:15:20",
        "w:100:105",
    ]


def test_a_certificate_s_signature_is_refused_as_such() -> None:
    """Keyless signatures have no key here to be checked with."""
    bundle = json.loads(sign_manifest(MANIFEST, key("publisher")))
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AA=="}, "tlogEntries": []}
    with pytest.raises(StatementError, match="only signatures by a key"):
        verify_manifest(json.dumps(bundle).encode(), PUBLISHER)
