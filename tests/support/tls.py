"""TLS in front of a server that has none: a certificate of our own, and a relay that speaks TLS outside.

The embedded Valkey and Postgres are built without TLS, so what is tested is our side of the wire: real
handshakes, real certificates, both refused and accepted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a Postgres client sends first when it wants TLS; the server says S and both go on in TLS."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "ca.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@contextmanager
def relay(to_port: int, files: tuple[Path, Path], *, postgres: bool = False) -> Iterator[int]:
    """The port of a relay that takes TLS connections only and carries them to `to_port` in the clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    outside, _ = listener.accept()
                except OSError:  # closed: the test is over
                    return
                threading.Thread(target=carry, args=(outside,), daemon=True).start()

        def carry(outside: socket.socket) -> None:
            try:
                if postgres:
                    if outside.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                        outside.close()
                        return
                    outside.sendall(b"S")
                secure = context.wrap_socket(outside, server_side=True)
                inside = socket.create_connection(("127.0.0.1", to_port))
            except OSError:  # a refused handshake ends the connection; the client says why
                outside.close()
                return
            threading.Thread(target=pump, args=(inside, secure), daemon=True).start()
            pump(secure, inside)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes until one side ends."""
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    for end in (source, sink):
        with contextlib.suppress(OSError):  # the other direction may have done it
            end.shutdown(socket.SHUT_RDWR)
