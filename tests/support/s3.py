"""An S3-compatible server (moto) on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """The address of a folder in a bucket of that name, which this process and its children find."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patched:
        server = ThreadedMotoServer("127.0.0.1", port=0)
        server.start()
        host, port = server.get_host_and_port()
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("AWS_ACCESS_KEY_ID", "anybody")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # fsspec keeps file systems by their arguments; an address is none of them, and may be an old one.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir(f"s3://{name}")
        yield f"s3://{name}/feltsense"
        server.stop()
