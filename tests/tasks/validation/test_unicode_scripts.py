"""Test the share of a text's letters that belong to a script."""

from __future__ import annotations

import unicodedata

import pytest

from tasks.validation.unicode_scripts import SCRIPTS, is_known_script, share_in


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("Latin", "Straße, Łódź, Việt, ａｂｃ"),
        ("Cyrillic", "Привіт, свет"),
        ("Greek", "Καλημέρα"),
        ("Han", "漢字，汉字"),
        ("Arabic", "مرحبا"),
        ("Hebrew", "שלום"),
        ("Devanagari", "नमस्ते"),
        ("Hiragana", "ひらがな"),
        ("Katakana", "カタカナー ｶﾅ"),
        ("Hangul", "한글"),
        ("Thai", "ภาษาไทย"),
        ("Georgian", "ქართული"),
    ],
)
def test_share_in_each_script_is_its_own(script: str, text: str) -> None:
    assert share_in(text, [script]) == 1.0
    assert share_in(text, [name for name in SCRIPTS if name != script]) == 0.0


def test_share_in_counts_letters_alone() -> None:
    assert share_in("abc где 123, ...!", ["Latin"]) == 0.5
    assert share_in("abc где 漢字", ["Latin", "Cyrillic"]) == 0.75
    assert share_in("abc где 漢字", ["Latin", "Latin"]) == 3 / 8
    # A Gothic letter counts as a letter although its script is not in the list.
    assert share_in("a\U00010330", ["Latin"]) == 0.5


def test_share_in_ascii_is_latin() -> None:
    assert share_in("plain text", ["Latin", "Greek"]) == 1.0
    assert share_in("plain text", ["Greek"]) == 0.0


@pytest.mark.parametrize("text", ["", "123 ...", "١٢٣", "\ud800"])
def test_share_in_text_without_letters_is_one(text: str) -> None:
    assert share_in(text, ["Greek"]) == 1.0


def test_share_in_names_match_unicode_names() -> None:
    for script in ("Armenian", "Bengali", "Ethiopic", "Khmer", "Tamil", "Telugu", "Tibetan"):
        letters = [
            chr(point)
            for point in range(0x3000)
            if unicodedata.name(chr(point), "").startswith(f"{script.upper()} ") and chr(point).isalpha()
        ]
        assert len(letters) > 20
        assert share_in("".join(letters), [script]) == 1.0


def test_share_in_unknown_script_is_refused() -> None:
    assert is_known_script("Latin")
    assert not is_known_script("latin")
    with pytest.raises(ValueError, match="no script is called 'Latn'"):
        share_in("text", ["Latn"])
