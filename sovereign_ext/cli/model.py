"""``sovereign model``: the digest of a model on disk, and its publisher's signature.

Reads files as the ``model-signing`` package 1.x does, so that either verifies what the other signed: every regular
file below the directory, without git's own and the signature; a symbolic link is refused unless links are allowed.
What is signed is ``registry.manifest``'s matter. Hashing by BLAKE2 or BLAKE3, which that package can do, is not
offered here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.cli.keyfiles import about, fail, read_file, read_private, read_public, write_new

if TYPE_CHECKING:
    from sovereign_ext.registry.manifest import Manifest, Resource, Serialization

_CHUNK = 1024 * 1024


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("model", help="digest, sign and verify the files of a model")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    digest = actions.add_parser("digest", help="print the model's root digest")
    sign = actions.add_parser("sign", help="sign the model as its publisher")
    sign.add_argument("--key", type=Path, required=True, metavar="KEY.pem", help="private key, ECDSA P-256")
    sign.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="must not exist yet")
    verify = actions.add_parser("verify", help="check a signature, and that the files are those signed")
    verify.add_argument("--signature", type=Path, required=True, metavar="FILE")
    verify.add_argument("--key", type=Path, required=True, metavar="PUB.pem", help="the publisher's key")
    for action in (digest, sign, verify):
        action.add_argument("path", type=Path, metavar="PATH", help="the model's directory, or its only file")
    for action in (digest, sign):
        action.add_argument(
            "--ignore",
            action="append",
            default=[],
            type=Path,
            metavar="PATH",
            help="leave out, below the model",
        )
        action.add_argument("--allow-symlinks", action="store_true", help="follow links to files")


def run(args: argparse.Namespace) -> int:
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "digest": _digest,
        "sign": _sign,
        "verify": _verify,
    }
    return actions[args.action](args)


def _digest(args: argparse.Namespace) -> int:
    print(read_model(args.path, _how(args, [])).digest)
    return 0


def _sign(args: argparse.Namespace) -> int:
    from sovereign_ext.registry.manifest import sign_manifest

    key = read_private(args.key)
    manifest = read_model(args.path, _how(args, [args.output]))
    write_new(args.output, sign_manifest(manifest, key))
    print(f"{args.output}: {manifest.digest} ({_files(manifest)})")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from sovereign_ext.registry.manifest import differences, verify_manifest

    with about(args.signature):
        signed = verify_manifest(read_file(args.signature), read_public(args.key))
    ignored = dict.fromkeys((*signed.serialization.ignore_paths, *_below(args.path, [args.signature])))
    how = replace(signed.serialization, ignore_paths=tuple(ignored))
    lines = differences(signed, read_model(args.path, how))
    if lines:
        for line in lines:
            print(line)
        return fail(f"{args.path} is not what was signed: {len(lines)} of its files differ")
    print(f"{args.path}: {signed.digest} ({_files(signed)})")
    return 0


def _files(manifest: Manifest) -> str:
    count = len(manifest.resources)
    return f"{count} {'file' if manifest.serialization.method == 'files' else 'shard'}{'' if count == 1 else 's'}"


def _how(args: argparse.Namespace, more: list[Path]) -> Serialization:
    from sovereign_ext.registry.manifest import IGNORED, Serialization

    inside = _below(args.path, more)
    ignored = (*inside, *(str(path) for path in args.ignore), *IGNORED)
    return Serialization(allow_symlinks=args.allow_symlinks, ignore_paths=tuple(dict.fromkeys(ignored)))


def _below(model: Path, paths: list[Path]) -> list[str]:
    """Those of ``paths`` (as the caller sees them) that are inside the model, as seen from there."""
    root = Path(os.path.realpath(model))
    real = [Path(os.path.realpath(path)) for path in paths]
    return [str(path.relative_to(root)) for path in real if path != root and path.is_relative_to(root)]


def read_model(path: Path, how: Serialization) -> Manifest:
    """Hash the files of a model. Raises ``VerificationError`` for what cannot be part of one, ``OSError``."""
    from sovereign_ext.errors import VerificationError
    from sovereign_ext.registry.manifest import manifest_of

    if how.hash_type != "sha256":
        raise VerificationError(f"{path}: was hashed by {how.hash_type!r}; only sha256 is known here")
    name = path.name if path.name not in ("", "..") else Path(os.path.realpath(path)).name
    resources = [resource for file in _listed(path, how) for resource in _resources(path, file, how)]
    if not resources:
        print(f"sovereign: warning: {path} holds no file", file=sys.stderr)
    return manifest_of(name, resources, how)


def _resources(model: Path, file: Path, how: Serialization) -> Iterator[Resource]:
    from sovereign_ext.registry.manifest import Resource

    name = file.relative_to(model).as_posix()
    if how.shard_size is None:
        yield Resource(name, _hash(file, 0, None))
        return
    size, algorithm = file.stat().st_size, f"sha256-sharded-{how.shard_size}"
    for start in range(0, size, how.shard_size):
        end = min(start + how.shard_size, size)
        yield Resource(f"{name}:{start}:{end}", _hash(file, start, end), algorithm)


def _listed(model: Path, how: Serialization) -> list[Path]:
    """Every file that belongs to the model. Ignored parts are looked at for links, as ``model-signing`` does."""
    ignored = [model / path for path in how.ignore_paths]
    return [
        path
        for path in _everything(model)
        if _is_file(path, allow_symlinks=how.allow_symlinks)
        and not any(path.is_relative_to(each) for each in ignored)
    ]


def _everything(model: Path) -> Iterator[Path]:
    yield model
    if not model.is_dir():
        return
    for directory, directories, files in os.walk(model, onerror=_raise):
        for name in (*directories, *files):
            yield Path(directory) / name


def _raise(error: OSError) -> None:
    raise error


def _is_file(path: Path, *, allow_symlinks: bool) -> bool:
    from sovereign_ext.errors import VerificationError

    if path.is_symlink():
        if not allow_symlinks:
            raise VerificationError(f"{path} is a symbolic link (--allow-symlinks follows links to files)")
        if path.is_dir():
            raise VerificationError(f"{path} is a link to a directory, which is not followed")
    if path.is_file():
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise VerificationError(f"{path!r} has a name that is not UTF-8") from None
        return True
    if not path.is_dir():
        raise VerificationError(f"{path} is neither a file nor a directory")
    return False


def _hash(path: Path, start: int, end: int | None) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        stream.seek(start)
        left = end - start if end is not None else None
        while left is None or left > 0:
            chunk = stream.read(_CHUNK if left is None else min(_CHUNK, left))
            if not chunk:
                break
            hasher.update(chunk)
            left = None if left is None else left - len(chunk)
    return hasher.hexdigest()
