"""`dld-d2 serve` as a process of its own, by exported networks."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from dld_d2.commands import serve
from dld_d2.commands.main import main
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.pretrained import weights_file

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from dld_d2.deployment.result_entry import result_entry
from dld_d2.deployment.runtime import OnnxSpotter


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    save_onnx(*load_spotter(weights_file("photo_teacher"), ["INPUT.MIN_SIZE_TEST", "352"]), folder)
    return folder


@pytest.fixture
def start(networks):
    """Starts a service, and ends those that are left."""
    started = []

    def start(port):
        words = ["-m", "dld_d2.commands.main", "serve", "--model", str(networks)]
        process = subprocess.Popen(
            [sys.executable, *words, "--port", str(port)],
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        for _ in range(600):
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").json()["status"] == "ok"
                return process
            except httpx.TransportError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
        raise AssertionError("it does not answer")

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def photograph():
    image = np.full((300, 400, 3), 230, np.uint8)
    for i, text in enumerate(("HOTEL bar", "open 24 h", "Exit 7")):
        cv2.putText(image, text, (20, 60 + 80 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (40, 20, 90), 2)
    return cv2.imencode(".png", image)[1].tobytes()


def test_it_reads_ends_in_peace_and_starts_again(start, port, networks):
    url, image = f"http://127.0.0.1:{port}/read", photograph()
    expected = json.loads(json.dumps(result_entry(OnnxSpotter(networks)(image))))
    assert len(expected["words"]) >= 3

    killed = start(port)
    assert httpx.post(url, content=image).json() == expected
    # A body that is too large is refused before it has been sent, and the sender sees the answer.
    assert httpx.post(url, content=bytes(25_000_000)).status_code == 413
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=30)

    ended = start(port)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(httpx.post(url, content=image, timeout=60)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while httpx.get(f"http://127.0.0.1:{port}/metrics").text.count("in_progress 3.0") == 0:
        if len(answers) == 3:
            break
        time.sleep(0.005)
    ended.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert [answer.json() for answer in answers] == [expected] * 3
    assert ended.wait(timeout=30) == -signal.SIGTERM
    assert "Traceback" not in ended.stderr.read()


def test_what_it_cannot_serve(tmp_path, capsys, monkeypatch):
    assert main(["serve", "--model", str(tmp_path)]) == 2
    assert "holds no model.json" in capsys.readouterr().err
    assert main(["serve", "--model", str(tmp_path), "--timeout", "0"]) == 2
    assert "limit of seconds must be above 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve.main(["--model", str(tmp_path)]) == 2
    assert "uvicorn is not installed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        serve.main(["--model", str(tmp_path), "--workers", "0"])
    assert "must be at least 1" in capsys.readouterr().err
