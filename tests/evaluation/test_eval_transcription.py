import pytest

from dld_d2.evaluation.protocol import prepare_truth
from dld_d2.evaluation.transcription import accepted_readings, dictionary_word


@pytest.mark.parametrize(
    ("truth", "read", "correct"),
    [
        ("Hello", "hELLO", True),
        ("Hello", "Hell", False),
        ("Hello!", "hello", True),
        ("(Hello", "hello", True),
        ("(Hello!", "hello", True),
        ("(Hello!", "hello!", True),
        ("(Hello!", "(hello", True),
        ("Hello!!", "hello", False),  # one character at each end, not more
        ("Hello!!", "hello!", True),
        ("Hello", "hello!", False),  # only the ground truth may lose characters
        ("it's", "its", False),  # only at the ends
        (" Hello ", "hello", True),
        ("·Hello", "hello", True),
        ("-Hello", "hello", False),  # no special character
        (".", "", True),
        ("", "", True),
        ("straße", "STRASSE", True),  # equality of upper cases
    ],
)
def test_end_to_end(truth, read, correct):
    assert (read.upper() in accepted_readings(truth, "end_to_end")) is correct


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Hello", "Hello"),
        ("Hello's", "Hello"),
        ("Hello'S", "Hello"),
        ("Hellos'", "Hellos"),
        ("--Hello-", "Hello"),
        ("well-known", "well-known"),
        ("-Hello!", "Hello"),
        ("-Hello-!", "Hello-"),  # hyphens go before special characters do
        ("!Hello?.", "Hello"),
        ("don't", None),  # a space remains inside
        ("a.b.c", None),
        ("ab", None),
        ("ab's", None),
        ("R2D2", None),
        ("abc1", None),
        ("A&B", None),
        ("café", "café"),
        ("ŝaŭmo", "ŝaŭmo"),
        ("Άρης", "Άρης"),
        ("abc×d", None),
        ("abc÷d", None),
        ("abcǀd", None),  # U+01C0, between the ranges
        ("abcǃd", None),  # U+01C3
        ("abcƿd", "abcƿd"),  # U+01BF
        ("abcǄd", "abcǄd"),  # U+01C4
        ("abcɿd", "abcɿd"),  # U+027F
        ("abcʀd", None),  # U+0280
        ("abcϿd", "abcϿd"),  # U+03FF
        ("abcЀd", None),  # U+0400
        ("abc΅d", None),  # U+0385
        ("abc·def", None),  # becomes a space
        ("", None),
        ("###", None),
    ],
)
def test_dictionary_word(text, word):
    assert dictionary_word(text) == word


def test_word_spotting_forgives_nothing_but_case():
    truth = prepare_truth(["Hello's!", "###", "no", "Shop,s"], "word_spotting")
    assert truth.readings == [[], [], [], ["SHOPS"]]
    truth = prepare_truth(["(Hello's"], "word_spotting")
    assert truth.readings == [["HELLO"]]


def test_only_three_hashes_are_dont_care_end_to_end():
    truth = prepare_truth(["###", "##", "####", " ###", ""], "end_to_end")
    assert truth.dont_care.tolist() == [True, False, False, False, False]
