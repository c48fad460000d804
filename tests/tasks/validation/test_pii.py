"""Test the detection of personal data: matches, non-matches, and linear time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from tasks.validation.pii import Span, find_pii, mask_pii

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJlLW9mLWl0"
BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\nj34GkxFhD90vcN\n-----END RSA PRIVATE KEY-----"


def kinds(text: str) -> list[str]:
    return [span.kind for span in find_pii(text)]


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org",
        "ada.lovelace+notes@mail.example.co.uk",
        "o'brien@example.ie",
        "jörg@müller.example",
        "a_b-c@sub-domain.example.museum",
    ],
)
def test_mask_pii_email_address_is_masked_whole(address: str) -> None:
    assert mask_pii(f"Write to {address}, or ({address}).") == "Write to [e-mail], or ([e-mail])."


@pytest.mark.parametrize(
    "text",
    ["@property", "icon@2x.png", "meet @ 5.30 pm", "user@host", "a@b@c.example", "x @y.example", "@@@"],
)
def test_find_pii_at_sign_is_no_address(text: str) -> None:
    assert kinds(text) == (["e-mail"] if text == "a@b@c.example" else [])


@pytest.mark.parametrize(
    "number",
    [
        "+44 20 7946 0958",
        "+44 (0)20 7946 0958",
        "+1-202-555-0143",
        "+12025550143",
        "(202) 555-0143",
        "202-555-0143",
        "202.555.0143",
        "1-800-555-0143",
        "020 7946 0958",
        "07700 900123",
        "07700900123",
        "030 / 901820",
        "(030) 901820-33",
        "0049 30 9018200",
        "01 99 00 12 34",
        "(11) 91234-5678",
        "138 1234 5678",
        "98765 43210",
    ],
)
def test_mask_pii_phone_number_is_masked_whole(number: str) -> None:
    assert mask_pii(f"Call {number} today.") == "Call [phone] today."


@pytest.mark.parametrize("number", ["612 345 678", "13812345678", "6123456789"])
def test_mask_pii_announced_number_is_phone_number(number: str) -> None:
    assert kinds(f"It sold {number} copies") == []
    assert mask_pii(f"Tel.: {number}, phone number {number}") == "Tel.: [phone], phone number [phone]"


@pytest.mark.parametrize(
    "text",
    [
        "from 1914 to 1918 and from 1939 to 1945",
        "1914-1918, 1939-1945, 1950 1960 1970 1980",
        "on 2021-03-04 05:06:07, on 04.03.2021 05:06 and 01/02/2023 10:15",
        "01.02.2023-05.02.2023",
        "3.14159265358979, 0.123456789012, +1.123456789, -0.0123456789",
        "1,234,567,890 or 1.234.567.890 or 1 234 567 890",
        "ISBN 0306406152, ISBN-13: 978-0-306-40615-7, 0-306-40615-2, 9780306406157, ISBN 030-6406152",
        "the book 0306406152",
        "192.168.100.200 and 10.0.0.1",
        "1700000000 and 1700000000123 are times",
        "id 00000012345 and 4b0712345678f",
        "10:05 0123, 12:30:45 678 901",
        "call +12345",
        "pages 123-456, 789-1011",
    ],
)
def test_find_pii_other_numbers_are_ignored(text: str) -> None:
    assert find_pii(text) == []


@pytest.mark.parametrize(
    "card",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "5555555555554444",
        "3782 822463 10005",
        "378282246310005",
        "3056 930902 5904",
        "6304000000000000",
    ],
)
def test_mask_pii_card_needs_valid_checksum(card: str) -> None:
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)

    assert mask_pii(f"Pay with {card}.") == "Pay with [card]."
    assert "card" not in kinds(f"Pay with {wrong}.")


def test_mask_pii_digits_after_card_are_kept() -> None:
    assert mask_pii("4111 1111 1111 1111 123 and 4111 1111 1111 1111 2027") == "[card] 123 and [card] 2027"


@pytest.mark.parametrize(
    "key",
    [
        "AKIA" + "ABCDEFGH23456777",
        "ghp_" + "a1B2c3D4e5F6" * 3,
        "github_pat_" + "11ABCDEFG0123456789_abcdefghij",
        "sk-" + "Ab3dEfGh1jKlMnOpQrStUvWx",
        "sk-proj-" + "Ab3dEfGh1jKlMnOpQr_tUvWx",
        "xoxb-" + "123456789012-abcdefABCDEF",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        JWT,
        BLOCK,
    ],
)
def test_mask_pii_key_is_masked_whole(key: str) -> None:
    assert mask_pii(f'key = "{key}"\n') == 'key = "[key]"\n'


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-is-a-package-for-machine-learning",
        "task-ABCDEFGH12345678abcdefgh",
        "MALAKIAABCDEFGH23456777AB",
        "eyJhbGci.eyJ",
        "snake_case_names and ghp_short",
        "-----BEGIN PUBLIC KEY-----",
        "ASIA is the largest continent",
    ],
)
def test_find_pii_key_prefix_alone_is_ignored(text: str) -> None:
    assert find_pii(text) == []


def test_find_pii_spans_are_sorted_and_disjoint() -> None:
    text = f"{JWT} 020 7946 0958@example.org 4111111111111111 é"

    spans = find_pii(text)

    assert spans[0].kind == "key"
    assert all(one.stop <= other.start for one, other in pairwise(spans))
    assert find_pii("é: ada@example.org") == [Span("e-mail", 3, 18)]
    assert find_pii("\ud800 ada@example.org") == [Span("e-mail", 2, 17)]
    assert mask_pii("nothing here") == "nothing here"


def test_mask_pii_distant_numbers_are_all_masked() -> None:
    prose = " Nothing to see in 1984, é or 漢. " * 50
    number, card = "020 7946 0958", "4111 1111 1111 1111"
    text = f"{number}{prose}{card}; {prose}phone number is 612 345 678. {prose}{number}"

    assert mask_pii(text) == f"[phone]{prose}[card]; {prose}phone number is [phone]. {prose}[phone]"


@pytest.mark.parametrize(
    "piece",
    [
        "a", "1", "1 ", "+", "(0", "01-", "0 ", "@", "a@", "a@b.", "-", "eyJ", "eyJaaaaaaaa.", "ghp_", "sk-",
        "xoxb-", "4111 ", "tel ", "tel 1 ", "-----BEGIN PRIVATE KEY-----", "+1(", "1.", "00", "AKIA",
    ],
)  # fmt: skip
def test_find_pii_time_is_linear(piece: str) -> None:
    def took(size: int) -> float:
        text = piece * (size // len(piece)) + "@0123456789 tel _ sk- eyJ"
        best = []
        for _ in range(3):
            start = time.process_time()
            find_pii(text)
            best.append(time.process_time() - start)
        return min(best)

    took(1000)
    assert took(400_000) < 40 * took(40_000) + 0.05
