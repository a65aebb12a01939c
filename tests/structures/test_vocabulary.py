import pytest

from dld_d2.structures.vocabulary import PRINTABLE_ASCII, Vocabulary


def test_published_vocabulary():
    assert len(PRINTABLE_ASCII) == 95
    assert len(Vocabulary()) == 97


@pytest.mark.parametrize("text", ["a", "Hello, World", "~ !", "x" * 32])
def test_round_trip(text):
    vocabulary = Vocabulary()
    classes = vocabulary.encode(text, 32)
    assert len(classes) == 33
    assert classes[len(text)] == vocabulary.end
    assert set(classes[len(text) + 1 :]) <= {Vocabulary.PADDING}
    assert vocabulary.decode(classes) == text


@pytest.mark.parametrize("text", ["", "x" * 33, "naïve", "日本"])
def test_words_that_cannot_be_read(text):
    assert not Vocabulary().can_encode(text, 32)
    with pytest.raises(ValueError, match="not a word of 1 to 32 known characters"):
        Vocabulary().encode(text, 32)


def test_file(tmp_path):
    path = tmp_path / "characters.txt"
    path.write_text("abcé\n", encoding="utf-8")
    vocabulary = Vocabulary.from_config(str(path))
    assert vocabulary.decode(vocabulary.encode("céa", 5)) == "céa"
    assert Vocabulary.from_config("").characters == PRINTABLE_ASCII


@pytest.mark.parametrize(
    ("content", "message"),
    [("abca", r"twice.*'a'"), ("", "found 0"), ("ab\ncd", "found 2"), ("\n", "at least one")],
)
def test_bad_file_names_itself(tmp_path, content, message):
    path = tmp_path / "characters.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.from_file(path)
    assert str(path) in str(error.value)
