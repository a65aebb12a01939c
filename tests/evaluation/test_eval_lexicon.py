import random
import zipfile

import pytest

from dld_d2.evaluation import EvaluationInputError, ImageLexicons, Lexicon, evaluate, read_lexicon
from dld_d2.evaluation.lexicon import correct_images


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def nearest(text, words):
    if len(text) < 3 or any(c.isdigit() for c in text) or "+" in text:
        return text
    return min(words, key=lambda word: edit_distance(text.upper(), word.upper()))


def test_against_a_plain_loop():
    rng = random.Random(0)

    def word(low, high):
        return "".join(rng.choice("abcABC1+é-") for _ in range(rng.randint(low, high)))

    words = [word(1, 7) for _ in range(200)]
    texts = [word(0, 9) for _ in range(300)]
    assert Lexicon(words).correct(texts) == [nearest(text, words) for text in texts]


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("hallo", "Hello"),
        ("hxllo", "Hello"),  # Hello and HALLO are one edit away each: the first wins
        ("hal1o", "hal1o"),  # a digit
        ("hal+o", "hal+o"),
        ("he", "he"),
        ("h,e", "he"),  # commas go first
        ("hal,lx", "Hello"),
        ("", ""),
        ("wörld!", "WORLD"),
    ],
)
def test_rule(text, corrected):
    lexicon = Lexicon(["Hello", "WORLD", "hello", "HxLxO"])
    assert lexicon.correct([text]) == [corrected]
    assert len(lexicon) == 3


def test_first_of_equals_and_commas_of_the_lexicon():
    assert Lexicon(["abd", "abe"]).correct(["abc"]) == ["abd"]
    assert Lexicon(["abe", "abd"]).correct(["abc"]) == ["abe"]
    assert Lexicon(["a,bd"]).correct(["abc"]) == ["abd"]


def test_repeated_calls_agree_whatever_was_asked_before():
    words = ["alpha", "beta", "gamma"]
    lexicon = Lexicon(words)
    first = lexicon.correct(["alpho", "gamme", "alpho", "beta"])
    assert first == lexicon.correct(["alpho", "gamme", "alpho", "beta"])
    assert lexicon.correct(["bets"]) == Lexicon(words).correct(["bets"])
    assert lexicon.correct([]) == []


def test_long_words_do_not_wrap():
    assert Lexicon(["b" * 700, "a" * 10]).correct(["a" * 600]) == ["a" * 10]


def test_images_have_their_own_words():
    strong = ImageLexicons({1: ["one"], "2": ["two"]})
    texts = {"1": ["onx"], "2": ["onx"], "3": []}
    assert correct_images(strong, texts) == {"1": ["one"], "2": ["two"], "3": []}
    with pytest.raises(EvaluationInputError, match=r"no lexicon for image 3 \(voc_img_3.txt\)"):
        correct_images(strong, {"3": ["onx"]})
    with pytest.raises(EvaluationInputError, match="image 7 is empty"):
        ImageLexicons({7: []})


@pytest.mark.parametrize("folder", ["", "strong_lexicon/"])
def test_read_strong_zip(tmp_path, folder):
    path = tmp_path / "strong.zip"
    with zipfile.ZipFile(path, "w") as archive:
        if folder:
            archive.writestr(folder, "")
        archive.writestr(f"{folder}voc_img_1.txt", "\ufeffONE\r\nTWO WORDS\r\n\r\n")
        archive.writestr(f"{folder}voc_img_2.txt", "CAFÉ\n")
    strong = read_lexicon(path)
    assert len(strong) == 2
    assert strong.correct("1", ["two word", "onn"]) == ["TWO WORDS", "ONE"]
    assert strong.correct("2", ["cafe"]) == ["CAFÉ"]


def test_read_strong_folder_and_single_file(tmp_path):
    (tmp_path / "lex").mkdir()
    (tmp_path / "lex" / "voc_img_5.txt").write_text("ONE\n")
    assert read_lexicon(tmp_path / "lex").correct("5", ["onn"]) == ["ONE"]
    (tmp_path / "weak.txt").write_bytes("CAFÉ\nTEA".encode())
    assert read_lexicon(tmp_path / "weak.txt").correct(["cafe"]) == ["CAFÉ"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weak.txt", b"", "weak.txt: a lexicon needs at least one word"),
        ("weak.txt", b"TEA\nCAF\xc9\n", "weak.txt, line 2: not UTF-8"),
        ("absent.txt", None, "no such lexicon"),
    ],
)
def test_bad_lexicon_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EvaluationInputError, match=message):
        read_lexicon(tmp_path / name)


def test_strong_zip_with_other_files_or_two_for_one_image(tmp_path):
    path = tmp_path / "strong.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(EvaluationInputError, match=r"'readme.txt'; .* voc_img_N.txt"):
        read_lexicon(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/voc_img_1.txt", "A")
        archive.writestr("b/voc_img_1.txt", "A")
    with pytest.raises(EvaluationInputError, match="twice"):
        read_lexicon(path)


def test_lexicon_corrects_before_scoring():
    box = [(0, 0), (9, 0), (9, 9), (0, 9)]
    gt, sub = {"1": [(box, "HELLO")]}, {"1": [(box, "hallx")]}
    report = evaluate(gt, sub, lexicons={"none": None, "full": Lexicon(["hello", "world"])})
    assert report.case("end_to_end", "none").spotting.hmean == 0
    assert report.case("end_to_end", "full").spotting.hmean == 1
