"""What the service answers, with a reader that is none."""

import asyncio
import random
import re
import time

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")

import httpx
from fake_reader import FakeReader, encoded
from load_testing.requests import HOSTILE, Requests, huge_png
from PIL import Image

from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.service import Limits, create_app
from dld_d2.deployment.service.metrics import Metrics
from dld_d2.structures.errors import UsageError


def talk(app, conversation):
    """The result of a coroutine that talks with the application."""

    async def run():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await conversation(client)

    return asyncio.run(run())


def post(app, body, query="", **more):
    return talk(app, lambda client: client.post(f"/read{query}", content=body, **more))


def counted(app):
    text = talk(app, lambda client: client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"(?m)^(dld_d2\S+) (\S+)$", text)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_words_of_an_image(kind):
    answer = post(create_app([FakeReader()]), encoded(40, 20, kind))
    assert answer.status_code == 200
    polygon = [[1.0, 2.0], [9.0, 2.0], [9.0, 6.0], [1.0, 6.0]]
    assert answer.json() == {
        "width": 40,
        "height": 20,
        "scale": 0.5,
        "relative_cost": 0.25,
        "words": [
            {"text": "40x20", "score": 0.9123, "detection_score": 0.8, "polygon": polygon},
            {"text": "faint", "score": 0.2, "detection_score": 0.4, "polygon": polygon},
        ],
    }


def test_options_of_a_request():
    reader = FakeReader()
    app = create_app([reader], chooses=True)
    for query, texts in (
        ("", ["40x20", "faint"]),
        ("?min_score=0.5", ["40x20"]),
        ("?min_detection_score=0.9", []),
        ("?min_score=0.1&cost_bias=-2", ["40x20", "faint"]),
        ("", ["40x20", "faint"]),
    ):
        answer = post(app, encoded(), query)
        assert [word["text"] for word in answer.json()["words"]] == texts
    assert [bias for _, bias in reader.seen] == [0.5, 0.5, 0.5, -2.0, 0.5]


LIMITS = Limits(body_bytes=5000, pixels=1000)


@pytest.mark.parametrize(
    ("body", "query", "status", "message"),
    [
        (b"", "", 400, "the body is empty"),
        (b"no image at all", "", 415, "no image of a known format: JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "", 415, "known format"),
        (encoded(40, 20)[:60], "", 422, "cannot be read as an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "", 415, "known format"),
        (encoded(40, 26), "", 413, "40 x 26 pixels, more than 1000"),
        (huge_png(100_000, 100_000), "", 413, "more than 1000"),
        (bytes(5001), "", 413, "more than 5000 bytes"),
        (encoded(), "?min_score=2", 400, "min_score must be between 0 and 1, not 2"),
        (encoded(), "?min_score=high", 400, "min_score must be a finite number, not 'high'"),
        (encoded(), "?cost_bias=nan", 400, "cost_bias must be a finite number, not 'nan'"),
        (encoded(), "?cost_bias=1", 400, "cost_bias: this model reads all images at one scale"),
        (encoded(), "?minscore=1", 400, "no option 'minscore'; there are min_score"),
        (encoded(13, 20), "", 500, "internal error (RuntimeError)"),
        (encoded(17, 20), "", 413, "does not fit into memory"),
    ],
)
def test_what_is_refused(body, query, status, message):
    app = create_app([FakeReader()], LIMITS)
    answer = post(app, body, query)
    assert answer.status_code == status
    (error,) = answer.json().values()
    assert message in error and "\n" not in error and len(error) < 400
    assert "secret" not in answer.text
    assert counted(app)[f'dld_d2_read_requests_total{{status="{status}"}}'] == 1
    # The slot is free again, and the reader reads.
    for _ in range(LIMITS.requests + 1):
        assert post(app, encoded()).status_code == 200


def test_a_body_of_unknown_length():
    async def parts():
        for _ in range(9):
            yield bytes(1000)

    app = create_app([FakeReader()], LIMITS)
    assert post(app, parts()).status_code == 413


def test_forms_other_paths_and_other_methods():
    app = create_app([FakeReader()])
    answer = talk(app, lambda client: client.post("/read", files={"file": encoded()}))
    assert answer.status_code == 415 and "not a form" in answer.json()["error"]
    answer = talk(app, lambda client: client.get("/read"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = talk(app, lambda client: client.get("/reed"))
    assert answer.status_code == 404 and answer.json() == {"error": "Not Found"}


def test_health_and_metrics():
    app = create_app([FakeReader(), FakeReader()])
    assert post(app, encoded()).status_code == 200
    health = talk(app, lambda client: client.get("/health"))
    assert health.status_code == 200
    assert (health.json()["status"], health.json()["readers"]) == ("ok", 2)
    found = counted(app)
    assert found["dld_d2_words_total"] == 2
    assert found['dld_d2_images_total{scale="0.5"}'] == 1
    assert found["dld_d2_reading_seconds_count"] == 1
    assert found["dld_d2_read_requests_in_progress"] == 0


def test_parts_of_images_have_one_label_whatever_their_mean_scale():
    metrics = Metrics(lambda: 0)
    for scale in np.linspace(0.5, 1, 50):
        metrics.was_read(SpottingResult((), (9, 9), (9, 9), float(scale), focused=True), 0.1)
    found = [line for line in metrics.text().decode().splitlines() if "images_total{" in line]
    assert found == ['dld_d2_images_total{scale="parts"} 50.0']


def test_one_image_at_a_time_for_each_reader():
    readers = [FakeReader(0.02), FakeReader(0.02)]
    app = create_app(readers)

    async def many(client):
        return await asyncio.gather(*(client.post("/read", content=encoded()) for _ in range(12)))

    assert [answer.status_code for answer in talk(app, many)] == [200] * 12
    assert [reader.most_at_once for reader in readers] == [1, 1]
    assert sum(len(reader.seen) for reader in readers) == 12
    assert all(reader.seen for reader in readers)


def test_more_than_there_are_slots_for():
    reader = FakeReader(0.1)
    app = create_app([reader], Limits(requests=3))

    async def many(client):
        return await asyncio.gather(*(client.post("/read", content=encoded()) for _ in range(8)))

    answers = talk(app, many)
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 5
    for answer in answers:
        if answer.status_code == 503:
            assert 1 <= int(answer.headers["retry-after"]) <= 3
            assert "try again in" in answer.json()["error"]
    assert len(reader.seen) == 3
    assert post(app, encoded()).status_code == 200


def test_what_is_no_image_does_not_wait_for_a_reader():
    app = create_app([FakeReader(1.0)])

    async def both(client):
        slow = asyncio.create_task(client.post("/read", content=encoded()))
        await asyncio.sleep(0.05)
        answers = [await client.post("/read", content=body) for body in (b"none", b"")]
        return answers, slow.done(), await slow

    answers, done, slow = talk(app, both)
    assert [answer.status_code for answer in answers] == [415, 400]
    assert not done and slow.status_code == 200


def test_requests_that_run_out_of_time():
    reader = FakeReader(0.5)
    app = create_app([reader], Limits(seconds=0.1, requests=2))

    async def two(client):
        answers = await asyncio.gather(*(client.post("/read", content=encoded()) for _ in range(2)))
        # The reader is still at work on the first, which keeps its slot; the other one's is free.
        late = await client.get("/health")
        third = asyncio.create_task(client.post("/read", content=encoded()))
        await asyncio.sleep(0.01)
        refused = await client.post("/read", content=encoded())
        return answers, late, await third, refused

    answers, late, third, refused = talk(app, two)
    assert [answer.status_code for answer in answers] == [504, 504]
    assert "within 0.1 s" in answers[0].json()["error"]
    assert (late.status_code, late.json()["late"]) == (503, 1)
    assert (third.status_code, refused.status_code) == (504, 503)
    time.sleep(0.6)
    assert len(reader.seen) == 1, "what waited must not have been read"
    assert talk(app, lambda client: client.get("/health")).status_code == 200
    assert counted(app)["dld_d2_late_readers"] == 0
    reader.delay = 0
    assert post(app, encoded()).status_code == 200


def test_a_body_that_does_not_arrive():
    async def drips():
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    app = create_app([FakeReader()], Limits(seconds=0.1, requests=1))
    answer = post(app, drips())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert post(app, encoded()).status_code == 200


def test_a_client_that_goes_away():
    app = create_app([FakeReader()], Limits(requests=1))
    messages = []

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/read", "query_string": b"", "headers": []}
    asyncio.run(app(scope, gone, send))
    assert messages[0]["status"] == 400
    assert post(app, encoded()).status_code == 200


def test_what_the_load_test_sends_gets_what_it_expects(tmp_path):
    """Noise of several sizes, of which parts are sent, and what is hostile; no overload here."""
    rng = np.random.default_rng(0)
    for i, size in enumerate(((90, 120), (200, 100))):
        image = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        image.save(tmp_path / f"{i}.jpg")
    files = [str(file) for file in sorted(tmp_path.iterdir())]
    requests = Requests(files, random.Random(0), 0.9)
    app = create_app([FakeReader()])

    async def many(client):
        sent = [requests.next() for _ in range(80)]
        return [(one, await client.post("/read", content=one.body)) for one in sent]

    kinds = set()
    for request, answer in talk(app, many):
        kinds.add(request.kind)
        assert answer.status_code in set(request.expected) - {503, 504}, request.kind
    assert len(kinds) == len(HOSTILE) + 1


@pytest.mark.parametrize(
    "limits",
    [{"pixels": 0}, {"pixels": 10**9}, {"seconds": float("nan")}, {"requests": -1}],
)
def test_limits_that_are_none(limits):
    with pytest.raises(UsageError, match=f"limit of {next(iter(limits))} must be"):
        Limits(**limits)
