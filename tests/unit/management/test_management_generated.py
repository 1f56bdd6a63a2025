"""The checked-in generated code is what ``proto/`` gives with the locked compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import our_scripts
import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "proto.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return our_scripts.script("proto")


def test_checked_in_code_is_fresh() -> None:
    """``--check`` finds no difference between the repository and a new generation."""
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_notices_a_changed_and_an_extra_file(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file edited by hand and a file that no proto gives are both named."""
    script.generate(script.PROTO, tmp_path)
    changed = tmp_path / "sovereign/log/v1/log_pb2.py"
    changed.write_text(changed.read_text("utf-8") + "# edited\n", "utf-8")
    (tmp_path / "sovereign/stale_pb2.py").write_text("", "utf-8")
    monkeypatch.setattr(script, "OUT", tmp_path)
    assert script.main(["--check"]) == 1
    said = capfd.readouterr().err
    assert "log_pb2.py" in said
    assert "stale_pb2.py" in said
    assert "providers_pb2.py" not in said


def test_files_that_import_each_other_find_each_other(script: ModuleType, tmp_path: Path) -> None:
    """Imports between our own protos end up under the package, Google's stay where they are."""
    proto, out = tmp_path / "proto", tmp_path / "out"
    out.mkdir()
    (proto / "sovereign/a").mkdir(parents=True)
    one = """
        syntax = "proto3";
        package sovereign.a;
        message One {}
    """
    two = """
        syntax = "proto3";
        package sovereign.a;
        import "sovereign/a/one.proto";
        import "google/api/httpbody.proto";
        message Two { One one = 1; google.api.HttpBody body = 2; }
    """
    (proto / "sovereign/a/one.proto").write_text(one, "utf-8")
    (proto / "sovereign/a/two.proto").write_text(two, "utf-8")
    script.generate(proto, out)
    for generated in ("two_pb2.py", "two_pb2.pyi"):
        text = (out / "sovereign/a" / generated).read_text("utf-8")
        assert "from sovereign_ext._gen.sovereign.a import one_pb2 as" in text
        assert "from google.api import httpbody_pb2 as" in text


def test_a_faulty_proto_is_refused(
    script: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A proto that does not compile raises, and protoc says where."""
    (tmp_path / "proto").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "proto/bad.proto").write_text('syntax = "proto3"; message {', "utf-8")
    with pytest.raises(RuntimeError, match="refused"):
        script.generate(tmp_path / "proto", tmp_path / "out")
    assert "bad.proto:1" in capfd.readouterr().err
