"""How CIFAR-10 gets into data_root: an archive that the user put there, and downloads from a server on loopback."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from node_agent.tasks import DataMissing
from node_agent.torchvision_shim import import_torchvision_datasets
from tests.unit.node_agent.test_image_tasks import cifar, no_network, write_cifar

# torchvision unpacks without saying which members it trusts; newer Pythons warn about that.
pytestmark = pytest.mark.filterwarnings("ignore:Python 3.14 will, by default, filter:DeprecationWarning")


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of CIFAR-10's layout, whose checksum torchvision expects."""
    write_cifar(tmp_path / "original", monkeypatch)
    path = tmp_path / "packed.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "original" / "cifar-10-batches-py", "cifar-10-batches-py")
    content = path.read_bytes()
    monkeypatch.setattr(import_torchvision_datasets().CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    return content


@contextmanager
def server(content: bytes, announced: int) -> Iterator[str]:
    """A server that sends `content` and announces it as `announced` bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/cifar-10-python.tar.gz"
        finally:
            listening.shutdown()
            thread.join()


def test_the_archive_that_the_remedy_asks_for_is_enough(
    tmp_path: Path, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(packed)
    task = cifar(root)
    task.load()
    assert task.num_training == 100


def test_it_is_downloaded_if_there_is_a_network(
    tmp_path: Path, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(packed, len(packed)) as url:
        monkeypatch.setattr(import_torchvision_datasets().CIFAR10, "url", url)
        task = cifar(tmp_path / "data")
        task.load()
    assert task.num_training == 100


def test_a_download_that_breaks_off_leaves_nothing_behind(
    tmp_path: Path, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(packed[:1000], len(packed)) as url:
        monkeypatch.setattr(import_torchvision_datasets().CIFAR10, "url", url)
        for _ in range(2):  # the second time too: the data is missing, not broken
            with pytest.raises(DataMissing, match="cannot be downloaded") as error:
                cifar(tmp_path / "data").load()
            assert type(error.value) is DataMissing
        task = cifar(tmp_path / "data", on_missing="synthetic")
        task.load()
    assert task.standin


def test_an_unusable_data_root_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataMissing) as error:
        cifar(tmp_path / "file").load()
    assert "set data_root (or MNBED_DATA)" in error.value.remedy
