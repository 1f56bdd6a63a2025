"""``sovereign keys`` and ``sovereign check`` on real files."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sovereign_ext.cli import check, keys
from sovereign_ext.config.load import load
from sovereign_ext.tenants.keys import checksum_ok, hash_key

TEXT = """\
# our file
version: 1
tenants:
  - id: acme          # first customer
    keys: []
    policies: [p]
    default_policy: p
policies:
  - id: p
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sovereign.yaml"
    path.write_text(TEXT)
    return path


def run(*words: str) -> int:
    """The exit code of ``sovereign`` with these arguments (before ``main`` turns errors into words)."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(dest="command")
    for module in (check, keys):
        module.register(subparsers)
    args = parser.parse_args(words)
    return {"check": check, "keys": keys}[args.command].run(args)


def test_a_new_key_is_printed_once_and_works(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout holds the key and nothing else, so that it can be piped; the file holds its hash only."""
    assert run("keys", "new", "acme", "--file", str(file), "--expires", "30d") == 0
    out, err = capsys.readouterr()
    key = out.removesuffix("\n")
    assert checksum_ok(key)
    assert key not in err
    assert key not in file.read_text()
    (stored,) = load(file).config.tenants[0].keys
    assert (stored.id, stored.hash) == ("acme-1", hash_key(key))
    assert stored.expires_at is not None
    assert abs(stored.expires_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert file.read_text().startswith(
        "# our file\nversion: 1\ntenants:\n  - id: acme          # first customer\n"
    )


def test_ids_are_counted_up_and_may_be_given(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two keys overlap while one replaces the other; the same id twice is refused before a key is made."""
    assert run("keys", "new", "acme", "--file", str(file)) == 0
    assert run("keys", "new", "acme", "--file", str(file)) == 0
    assert run("keys", "new", "acme", "--file", str(file), "--id", "ci") == 0
    assert [key.id for key in load(file).config.tenants[0].keys] == ["acme-1", "acme-2", "ci"]
    before = file.read_bytes()
    capsys.readouterr()
    for wrong in ("ci", "Not An Id"):
        assert run("keys", "new", "acme", "--file", str(file), "--id", wrong) == 1
    assert capsys.readouterr().out == ""
    assert file.read_bytes() == before


def test_mode_and_symbolic_link_stay(file: Path, tmp_path: Path) -> None:
    """The file may be readable by its group only, and be linked from somewhere else."""
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file.name)
    assert run("keys", "new", "acme", "--file", str(link)) == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o7777 == 0o640
    assert len(load(file).config.tenants[0].keys) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "sovereign.yaml"]


def test_an_admin_is_made_with_its_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--admin`` gives the other prefix and the other section."""
    assert run("keys", "new", "ops", "--admin", "--file", str(file)) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("sk-admin-")
    assert load(file).config.admins[0].keys[0].hash == hash_key(key)


def test_an_unknown_tenant_is_refused_with_the_known_ones(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo must not make a tenant."""
    assert run("keys", "new", "acm", "--file", str(file)) == 1
    assert "no tenant 'acm'; it has: acme" in capsys.readouterr().err
    assert file.read_text() == TEXT


def test_without_a_file_the_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has a running gateway need not have a file."""
    monkeypatch.chdir(tmp_path)
    assert run("keys", "list") == 1
    assert "--file" in (said := capsys.readouterr().err)
    assert "--api" in said


def test_what_cannot_be_edited_is_handed_to_a_person(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is printed, the lines to add are on stderr, the file is untouched and the exit code says so."""
    text = TEXT.replace("keys: []", "keys: &k []") + "  - id: q\n"
    text = text.replace(
        "policies:\n  - id: p",
        "  - {id: b, keys: *k, policies: [q], default_policy: q}\npolicies:\n  - id: p",
    )
    file.write_text(text)
    assert run("keys", "new", "acme", "--file", str(file)) == 1
    out, err = capsys.readouterr()
    assert f'- id: acme-1\n  hash: "{hash_key(out.strip())}"\n' in err
    assert file.read_text() == text


def test_revoking_ends_a_key_and_keeps_its_history(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice is the same as once."""
    run("keys", "new", "acme", "--file", str(file))
    assert run("keys", "revoke", "acme-1", "--file", str(file)) == 0
    (key,) = load(file).config.tenants[0].keys
    assert key.revoked_at is not None
    assert key.revoked_at <= datetime.now(UTC)
    before = file.read_bytes()
    assert run("keys", "revoke", "acme-1", "--file", str(file)) == 0
    assert "already revoked" in capsys.readouterr().out
    assert file.read_bytes() == before
    assert run("keys", "revoke", "nope", "--file", str(file)) == 1


def test_revoking_asks_whose_key_where_two_have_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids are unique per owner only."""
    for owner, extra in (("acme", []), ("ops", ["--admin"])):
        run("keys", "new", owner, *extra, "--id", "main", "--file", str(file))
    assert run("keys", "revoke", "main", "--file", str(file)) == 1
    assert "acme, ops" in capsys.readouterr().err
    assert run("keys", "revoke", "main", "--owner", "ops", "--file", str(file)) == 0
    config = load(file).config
    assert config.admins[0].keys[0].revoked_at is not None
    assert config.tenants[0].keys[0].revoked_at is None


def test_the_list_shows_state_and_no_whole_hash(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Enough to recognise a key, not enough to copy its hash."""
    run("keys", "new", "acme", "--file", str(file), "--expires", "2999-01-01")
    run("keys", "new", "acme", "--file", str(file))
    run("keys", "revoke", "acme-2", "--file", str(file))
    capsys.readouterr()
    assert run("keys", "list", "--file", str(file)) == 0
    head, one, two = capsys.readouterr().out.splitlines()
    assert head.split() == ["OWNER", "KIND", "KEY", "STATE", "EXPIRES", "HASH"]
    assert one.split()[:5] == ["acme", "tenant", "acme-1", "valid", "2999-01-01T00:00:00Z"]
    assert two.split()[:5] == ["acme", "tenant", "acme-2", "revoked", "never"]
    assert not any(key.hash in one + two for key in load(file).config.tenants[0].keys)


@pytest.mark.parametrize("when", ["1999-01-01", "0d", "30", "soon", "99999999d", "2027-02-30"])
def test_an_expiry_must_be_a_moment_to_come(file: Path, when: str) -> None:
    """Wrong usage is told before anything is made."""
    with pytest.raises(SystemExit, match="2"):
        run("keys", "new", "acme", "--file", str(file), "--expires", when)


def test_keys_made_at_the_same_time_do_not_overwrite_each_other(file: Path) -> None:
    """Each waits for the other; the lock is on the open directory, so threads stand for processes."""
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: run("keys", "new", "acme", "--file", str(file)), range(8)))
    assert codes == [0] * 8
    assert len(load(file).config.tenants[0].keys) == 8


def test_check_says_what_a_good_file_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 0."""
    assert run("check", str(file)) == 0
    expected = "ok (1 tenant, 1 policy, 0 models, 0 providers, 0 deployments)"
    assert capsys.readouterr().out == f"{file}: {expected}\n"


def test_check_prints_one_line_per_fault(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the form that editors understand; exit code 1."""
    file.write_text(TEXT.replace("[p]", "[q]").replace("version: 1", "version: 2"))
    assert run("check", str(file)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == [
        f"{file}:2: version", f"{file}:6: tenants[0].policies[0]", f"{file}:7: tenants[0].default_policy"
    ]  # fmt: skip


def test_check_of_no_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the default name is used."""
    assert run("check", str(tmp_path / "none.yaml")) == 1
    assert capsys.readouterr().out == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_the_default_file_is_ours_before_the_demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after ``sovereign up`` the demo's file is found; a file of one's own goes first."""
    monkeypatch.chdir(tmp_path)
    assert check.default_file() == Path("sovereign.yaml")
    Path(".sovereign").mkdir()
    Path(".sovereign/sovereign.yaml").write_text(TEXT)
    assert check.default_file() == Path(".sovereign/sovereign.yaml")
    Path("sovereign.yaml").write_text(TEXT)
    assert check.default_file() == Path("sovereign.yaml")


def test_a_rotation_leaves_both_keys_for_a_while(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old key is revoked at a moment to come; the new one is printed once."""
    run("keys", "new", "acme", "--file", str(file))
    capsys.readouterr()
    assert run("keys", "rotate", "acme-1", "--overlap", "2h", "--file", str(file)) == 0
    out, _ = capsys.readouterr()
    old, new = load(file).config.tenants[0].keys
    assert (new.id, new.hash, new.revoked_at) == ("acme-2", hash_key(out.strip()), None)
    assert old.revoked_at is not None
    assert abs(old.revoked_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
    assert run("keys", "rotate", "acme-1", "--file", str(file), "--overlap", "0") == 0
    old = load(file).config.tenants[0].keys[0]
    assert old.revoked_at is not None
    assert old.revoked_at <= datetime.now(UTC)
    assert run("keys", "rotate", "acme-1", "--file", str(file)) == 1
    assert "opens nothing" in capsys.readouterr().err


def test_what_a_rotation_in_a_file_cannot_carry_over_is_left_to_a_person(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new key without the limits of the old one would be a way around them."""
    hash_ = hash_key("k")
    keys_ = f'[{{id: tight, hash: "{hash_}", limits: [{{concurrent: 1}}]}}]'
    file.write_text(TEXT.replace("keys: []", f"keys: {keys_}"))
    before = file.read_text()
    assert run("keys", "rotate", "tight", "--file", str(file)) == 1
    assert "rules of its own" in capsys.readouterr().err
    assert run("keys", "new", "acme", "--policy", "p", "--file", str(file)) == 1
    assert file.read_text() == before


def test_a_list_may_be_of_one_owner(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with ``--api``; one that is not there is named, not an empty list."""
    for owner, more in (("acme", ()), ("ops", ("--admin",))):
        assert run("keys", "new", owner, "--file", str(file), *more) == 0
    capsys.readouterr()
    assert run("keys", "list", "acme", "--file", str(file)) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["OWNER", "acme"]
    assert run("keys", "list", "--admin", "--file", str(file)) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["OWNER", "ops"]
    assert run("keys", "list", "nobody", "--file", str(file)) == 1
    assert "no tenant 'nobody'" in capsys.readouterr().err
