import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dld_d2.evaluation import write_submission
from dld_d2.evaluation.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = [
    "task",
    "lexicon",
    "iou",
    "num_gt_care",
    "num_det",
    "det_recall",
    "det_precision",
    "det_hmean",
    "spot_recall",
    "spot_precision",
    "spot_hmean",
]


def box(x, y):
    return [(x, y), (x + 40, y), (x + 40, y + 20), (x, y + 20)]


@pytest.fixture
def files(tmp_path):
    gt = {1: [(box(0, 0), "Hello"), (box(0, 50), "world")], 2: [(box(0, 0), "###")]}
    sub = {1: [(box(0, 0), "hello", 0.9), (box(0, 50), "wurld", 0.5), (box(90, 90), "x", 0.1)]}
    write_submission(tmp_path / "gt.zip", gt, name="gt_img_{}.txt")
    write_submission(tmp_path / "sub.zip", sub)
    write_submission(tmp_path / "scored.zip", sub, scores=True)
    (tmp_path / "lex").mkdir()
    with zipfile.ZipFile(tmp_path / "lex" / "strong_lexicon.zip", "w") as archive:
        archive.writestr("voc_img_1.txt", "WORLD\nHELLO\n")
    (tmp_path / "lex" / "ch4_test_vocabulary.txt").write_text("WORLD\nHELLO\n")
    (tmp_path / "lex" / "GenericVocabulary.txt").write_text("WURST\nHELLO\n")
    (tmp_path / "lex" / "full_lexicons.txt").write_text("WORLD\n")
    return tmp_path


def run(files, *argv, submission="sub.zip"):
    out = files / "out.json"
    base = ["--gt", str(files / "gt.zip"), "--submission", str(files / submission)]
    status = main([*base, "--json", str(out), *map(str, argv)])
    return json.loads(out.read_text())["cases"] if status == 0 else status


def test_defaults_both_tasks_no_lexicon(files, capsys):
    cases = run(files)
    assert [(c["task"], c["lexicon"], c["iou"]) for c in cases] == [
        ("end_to_end", "none", 0.5),
        ("word_spotting", "none", 0.5),
    ]
    assert list(cases[0])[: len(KEYS)] == KEYS
    assert cases[0]["num_gt_care"] == 2 and cases[0]["num_det"] == 3
    assert cases[0]["det_precision"] == 2 / 3  # full precision
    assert cases[0]["spot_recall"] == 0.5
    printed = capsys.readouterr().out
    assert "66.67" in printed and "false positive" in printed
    assert "1 of 2 images have no results" in printed


def test_lexicons_from_one_folder(files):
    cases = run(
        files,
        *("--task", "end_to_end", "--lexicon", "none,strong,weak", "--lexicon", "generic,full"),
        *("--lexicon-path", files / "lex"),
    )
    assert {c["lexicon"]: c["spot_recall"] for c in cases} == {
        "none": 0.5,
        "strong": 1.0,
        "weak": 1.0,
        "generic": 0.5,
        "full": 0.5,
    }


def test_lexicons_one_path_each(files):
    lex = files / "lex"
    paths = [lex / "GenericVocabulary.txt", lex / "strong_lexicon.zip"]
    many = ["--lexicon-path", paths[0], "--lexicon-path", paths[1]]
    for given in (many, ["--lexicon-path", f"{paths[0]},{paths[1]}"]):
        cases = run(files, "--task", "end_to_end", "--lexicon", "generic,none,strong", *given)
        assert [(c["lexicon"], c["spot_recall"]) for c in cases] == [
            ("generic", 0.5),
            ("none", 0.5),
            ("strong", 1.0),
        ]


def test_one_folder_of_lexicons_as_published(files):
    lex = files / "lex"
    (lex / "strong_lexicon.zip").rename(lex / "ch4_test_vocabularies_per_image.zip")
    both = ["--lexicon", "strong,weak", "--lexicon-path", lex]
    cases = run(files, "--task", "end_to_end", *both)
    assert [(c["lexicon"], c["spot_recall"]) for c in cases] == [("strong", 1.0), ("weak", 1.0)]


def test_thresholds_and_json_on_standard_output(files, capsys):
    base = ["--gt", str(files / "gt.zip"), "--submission", str(files / "sub.zip")]
    assert main([*base, "--iou", "0.1,0.5", "--iou", "0.7", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert {case["iou"] for case in json.loads(captured.out)["cases"]} == {0.1, 0.5, 0.7}
    assert "Scores" in captured.err


def test_scores_bootstrap_and_details(files, capsys):
    cases = run(
        files,
        *("--scores", "--bootstrap", "50", "--details", files / "details"),
        submission="scored.zip",
    )
    assert cases[0]["best_threshold"]["threshold"] == 0.9
    assert len(cases[0]["intervals"]["det_hmean"]) == 2
    assert (files / "details" / "end_to_end-none-iou0.5" / "curve.csv").is_file()
    printed = capsys.readouterr().out
    assert "95% intervals" in printed and "Best confidence threshold" in printed


def test_own_file_names(files):
    write_submission(files / "odd.zip", {1: []}, name="result_{}.csv")
    assert run(files, "--det-pattern", r"result_(\d+)\.csv", submission="odd.zip")
    write_submission(files / "gt.zip", {1: []}, name="truth_{}.csv")
    assert run(files, "--gt-pattern", r"truth_(\d+)\.csv")


def test_guessed_commas_are_told(files, capsys):
    with zipfile.ZipFile(files / "commas.zip", "w") as archive:
        archive.writestr("img_1.txt", "0,0,40,0,40,20,0,20,Hel,lo\n")
    assert run(files, submission="commas.zip")[0]["spot_precision"] == 1
    error = capsys.readouterr().err
    assert "warning: 1 transcriptions" in error and "--det-points 4" in error
    assert run(files, "--det-points", 4, submission="commas.zip")[0]["spot_precision"] == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lexicon", "medium"], "--lexicon 'medium': choose from none, strong"),
        (["--lexicon", "strong"], "needs 1 --lexicon-path"),
        (["--lexicon-path", "{}/lex/full_lexicons.txt"], "needs 0 --lexicon-path"),
        (["--lexicon", "weak", "--lexicon-path", "{}/absent.txt"], "weak: no such file"),
        (
            ["--lexicon", "strong", "--lexicon-path", "{}/lex/full_lexicons.txt"],
            "is a folder or zip",
        ),
        (["--lexicon", "weak", "--lexicon-path", "{}/lex/strong_lexicon.zip"], "is one text file"),
        (["--lexicon", "weak", "--lexicon-path", "{}/empty"], "holds no *test_vocabulary.txt"),
        (["--iou", "half"], "--iou half: expected numbers"),
        (["--iou", "1.5"], "IoU threshold 1.5"),
        (["--images", "{}"], "--images needs --details"),
        (["--details", "{}/d", "--images", "{}/nowhere"], "no such folder of images"),
        (["--gt", "{}/nowhere.zip"], "nowhere.zip: no such file or folder"),
        (["--submission", "{}/gt.zip"], "unexpected file 'gt_img_1.txt'"),
        (["--det-pattern", "img"], "has 0 groups"),
        (["--scores"], "img_1.txt, line 1: 7 coordinates, an odd number; a confidence"),
        (["--bootstrap", "-1"], "bootstrap is -1"),
        (["--json", "{}/no/out.json"], "no/out.json"),
    ],
)
def test_bad_input_is_one_message_and_status_2(files, capsys, argv, message):
    (files / "empty").mkdir()
    assert run(files, *(arg.format(files) for arg in argv)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error


@pytest.mark.parametrize("command", [["tools/evaluate.py"], ["-m", "dld_d2.evaluation"]])
def test_as_a_command(files, command):
    arguments = ["--gt", files / "gt.zip", "--submission", files / "sub.zip"]
    done = subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "word_spotting" in done.stdout


def test_imports_neither_torch_nor_detectron2():
    program = (
        "import sys, dld_d2.evaluation, dld_d2.evaluation.protocol, dld_d2.evaluation.cli\n"
        "heavy = {'torch', 'detectron2', 'cv2', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
