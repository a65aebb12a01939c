"""Benchmarks of what needs no model, at tiny sizes: they run, and measure what they say."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from benchmark_suite import evaluation
from benchmark_suite.processes import in_new_process, process_memory

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
WORDS = ("10,10,90,10,90,40,10,40", "10,60,90,60,90,90,10,90")


def write_zip(path, pattern, texts):
    """A file for each image, which holds a line for each of its words."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, words in enumerate(texts):
            lines = (f"{box},{word}" for box, word in zip(WORDS, words, strict=True))
            archive.writestr(pattern.format(number), "\n".join(lines))
    return str(path)


@pytest.fixture
def files(tmp_path):
    gt = write_zip(tmp_path / "gt.zip", "gt_img_{}.txt", [("stop", "###"), ("exit", "menu")])
    read = write_zip(tmp_path / "read.zip", "res_img_{}.txt", [("stop", "x"), ("exif", "menu")])
    lexicon = "stop\nexit\nmenu\n"
    (tmp_path / "GenericVocabulary.txt").write_text(lexicon)
    (tmp_path / "ch4_test_vocabulary.txt").write_text(lexicon)
    with zipfile.ZipFile(tmp_path / "strong_lexicon.zip", "w") as archive:
        for number in range(2):
            archive.writestr(f"voc_img_{number}.txt", lexicon)
    return ["--gt", gt, "--submission", read, "--lexicons", str(tmp_path)]


def test_both_evaluations_count_alike(files, capsys):
    assert evaluation.main([*files, "--scale"]) == 0
    shown = capsys.readouterr().out
    assert "8 cases, seconds: wall" in shown and "times ours" in shown


def test_other_counts_are_told(files, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "count_naively", lambda *_: {("none", "end_to_end"): (0,) * 4})
    assert evaluation.main([*files, "--scale"]) == 1
    assert "the counts differ" in capsys.readouterr().err


@ON_LINUX
def test_replicas_are_as_many_as_asked_for(files, capsys):
    assert evaluation.main([*files, "--no-baseline", "--scale", "3", "8"]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    counts = [(int(row[1]), int(row[2])) for row in rows if row[1].strip().isdigit()]
    # One of two photographs has two words that count.
    assert counts == [(3, 6), (8, 16)]


@ON_LINUX
def test_an_index_is_measured_with_its_workers():
    arguments = ["--images", "40", "--words", "101", "--workers", "2", "--batches", "30"]
    command = [sys.executable, "-W", "ignore", str(TOOL), "index", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert (result["images"], result["words"], result["workers"]) == (40, 101, 2)
    assert result["main_mb_before"] > 10


@ON_LINUX
def test_a_new_process_has_its_own_memory():
    block = bytearray(300 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert process_memory("VmHWM") >= process_memory("VmRSS") > len(block)
    assert process_memory("Pss") <= process_memory("VmRSS")
    assert in_new_process(process_memory, "VmHWM") < len(block)
    assert in_new_process(os.getpid) != os.getpid()
    with pytest.raises(OSError, match="does not tell VmNone"):
        in_new_process(process_memory, "VmNone")
