"""A bundle is taken from whom the operator named, and from nobody else."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.support.program import feltsense
from worker.bundle import manifest, reader, signature
from worker.errors import BundleRefused, UsageError


def pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "bundle.key"
    file.write_bytes(pem(ed25519.Ed25519PrivateKey.generate()))
    return file


STRANGER = base64.b64encode(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def test_a_signed_bundle_is_taken_with_any_of_the_named_keys(folder, key):
    public = signature.sign(folder, key)
    assert reader.load(folder, keys=f"{STRANGER}, {public}").folder == folder
    assert reader.load(folder).manifest.files == manifest.read(folder).files  # unasked, it is a bundle as any


def resign(folder, key):
    """What somebody with a key of their own would do after a change."""
    own = ed25519.Ed25519PrivateKey.generate()
    key.write_bytes(pem(own))
    signature.sign(folder, key)


def relabel(folder, key):
    """Their signature under the id of ours."""
    ours = json.loads((folder / "signature.json").read_text())["key"]
    resign(folder, key)
    content = json.loads((folder / "signature.json").read_text())
    (folder / "signature.json").write_text(json.dumps({**content, "key": ours}))


def changed(folder, key):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "better"}))


TAMPERED = [
    ("never signed", lambda f, _: (f / "signature.json").unlink(), "not signed"),
    ("signed by a stranger", resign, "does not hold"),
    ("a stranger's signature under our name", relabel, "not of this manifest"),
    ("a changed manifest", changed, "not of this manifest"),
    ("no JSON", lambda f, _: (f / "signature.json").write_text("{"), "cannot be read"),
    ("no object", lambda f, _: (f / "signature.json").write_text("[]"), "cannot be read"),
    ("no base64", lambda f, _: (f / "signature.json").write_text('{"signature":1,"key":"x","data":"?"}'),
     "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "why"), [c[1:] for c in TAMPERED], ids=[c[0] for c in TAMPERED])
def test_where_keys_are_named_anything_else_is_refused(folder, key, tamper, why):
    public = signature.sign(folder, key)
    tamper(folder, key)
    with pytest.raises(BundleRefused, match=why):
        reader.load(folder, keys=public)


@pytest.mark.parametrize("keys", ["", ",", "short", f"{STRANGER},x"], ids=["none", "empty", "short", "one"])
def test_what_is_no_key_is_refused(folder, keys):
    with pytest.raises(UsageError):
        reader.load(folder, keys=keys)


def test_a_file_without_an_ed25519_key_cannot_sign(folder, tmp_path):
    other = tmp_path / "other.key"
    for content in (b"", b"nonsense", pem(ec.generate_private_key(ec.SECP256R1()))):
        other.write_bytes(content)
        with pytest.raises(UsageError, match="openssl genpkey"):
            signature.sign(folder, other)
    with pytest.raises(UsageError, match="cannot read"):
        signature.sign(folder, tmp_path / "absent")


def test_the_commands_sign_and_verify(folder, key):
    signed = feltsense("bundle", "sign", folder, "--key", key)
    assert signed.returncode == 0, signed.stderr
    public = signed.stdout.decode().strip()
    verified = feltsense("bundle", "verify", folder, FELTSENSE_BUNDLE_KEYS=public)
    assert b"signed with key" in verified.stdout
    refused = feltsense("bundle", "verify", folder, FELTSENSE_BUNDLE_KEYS=STRANGER)
    assert (refused.returncode, b"does not hold" in refused.stderr) == (2, True)
