"""Who vouches for a bundle: an Ed25519 signature beside the manifest, needed where the operator named keys.

`signature.json` is `{"signature": 1, "key": K, "data": S}`: S, base64, signs `feltsense.bundle.1`, a zero
byte and `manifest.json` as it stands (RFC 8032), and with it the digest of every file; K are the first 8 hex
digits of the public key's SHA-256. Digests prove that a folder is whole; the signature proves whose it is.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from worker.bundle.manifest import NAME as MANIFEST
from worker.bundle.manifest import SIGNATURE
from worker.errors import BundleRefused, UsageError
from worker.events.envelope import decode_key, key_id

_ASSOCIATED = b"feltsense.bundle.1\0"


def sign(folder: Path, key_file: Path) -> str:
    """Sign the manifest in `folder` with the private key in a PEM file; its public key as base64.

    Raises `UsageError` for a file that holds no Ed25519 key, `BundleRefused` for a folder without a manifest.
    """
    key = _private(key_file)
    signed = key.sign(_ASSOCIATED + _manifest(folder))
    public = key.public_key().public_bytes_raw()
    content = {"signature": 1, "key": key_id(public), "data": base64.b64encode(signed).decode()}
    part = folder / f".{SIGNATURE}.part"
    part.write_text(json.dumps(content))
    part.replace(folder / SIGNATURE)
    return base64.b64encode(public).decode()


def check(folder: Path, keys: str) -> str:
    """The id of the key, of these comma-separated public ones (base64), that signed the bundle in `folder`.

    Raises `BundleRefused` when none did, `UsageError` for what is no key.
    """
    raw = [decode_key(part.strip(), "a bundle key") for part in keys.split(",") if part.strip()]
    if not raw:
        raise UsageError("FELTSENSE_BUNDLE_KEYS names no key")
    try:
        content = json.loads((folder / SIGNATURE).read_bytes())
        named, data = content["key"], base64.b64decode(content["data"], validate=True)
        known = content["signature"] == 1
    except FileNotFoundError:
        raise BundleRefused(
            folder, "it is not signed, and FELTSENSE_BUNDLE_KEYS asks for it; see feltsense bundle sign"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BundleRefused(folder, f"{SIGNATURE} cannot be read: {type(error).__name__}") from error
    signers = {key_id(key): Ed25519PublicKey.from_public_bytes(key) for key in raw}
    if not known or named not in signers:
        raise BundleRefused(folder, "it is signed with a key that FELTSENSE_BUNDLE_KEYS does not hold")
    try:
        signers[named].verify(data, _ASSOCIATED + _manifest(folder))
    except InvalidSignature:
        raise BundleRefused(
            folder, "the signature is not of this manifest: one of them was changed"
        ) from None
    return str(named)


def _manifest(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleRefused(folder, f"{MANIFEST} cannot be read: {error.strerror}") from error


def _private(file: Path) -> Ed25519PrivateKey:
    key: object = None
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # said below, with the remedy
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{file} is no Ed25519 key without a password; make one with: openssl genpkey -algorithm ed25519"
        )
    return key
