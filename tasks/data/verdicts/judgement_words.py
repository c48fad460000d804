"""Say of a value in words whether it speaks for an answer or against it, in many languages."""

from __future__ import annotations

import re

from tasks.data.values.field_meanings import (
    ACCEPT,
    FALSE,
    NEGATIVE,
    POSITIVE,
    REJECT,
    TRUE,
    gendered_words,
)

_GOOD = POSITIVE | ACCEPT | gendered_words(
    """
    excellent perfect high_quality keep lgtm ship_it usable verified
    angenommen brauchbar freigegeben genehmigt gut hilfreich korrekt richtig akzeptiert passend
    accepté accepter approuvé approuver bien bon bonne correcte correct utile
    aceptada aceptado aprobada aprobado buena bueno correcta correcto excelente útil
    aceite aceito aprovada aprovado boa bom correto ótimo
    accettato approvato buono corretto ottimo
    goed goedgekeurd juist uitstekend bra utmärkt jättebra godkjent godkänd godkendt
    dobra dobre dobry poprawny zaakceptowany iyi doğru onaylandı tốt đúng baik
    верно одобрено отлично правильно принято хорошо хороший
    満足 满意 만족 好 很好 良好 优秀 正确 通过 通過 接受 合格 采纳 喜欢 赞 良い よい 可 正解 承認 採用
    좋음 좋아요 승인 통과 합격 정답
    جيد ممتاز مقبول صحيح अच्छा सही चांगले טוב מצוין נכון מאושר خوب عالی درست تایید_شد
    ভালো সঠিক நல்லது మంచి ดี ถูกต้อง อนุมัติ καλό καλή καλός σωστό άριστο εγκρίθηκε
    hyvä oikein hyväksytty erinomainen jó helyes elfogadva kiváló bună corect aprobat
    dobré dobrý správně správne dobar dobro točno dober labs geras mabuti nzuri
    добре вірно чудово схвалено добър вярно добра
    ✅ ✔ ✓ ○ 😀 😊 🙂 👏
    """
)  # fmt: skip
_BAD = NEGATIVE | REJECT | gendered_words(
    """
    broken garbage hallucinated low_quality nack nah nonsense nope spam unsafe unusable
    abgelehnt falsch inkorrekt mangelhaft schlecht unbrauchbar ungeeignet ungenügend verworfen zurückgewiesen
    faux incorrecte mal mauvais mauvaise refusé rejeté rejeter inutile
    deficiente incorrecta incorrecto mala malo pésimo rechazada rechazado
    errado incorreto mau má péssimo recusado rejeitada rejeitado ruim
    cattivo pessimo respinto rifiutato sbagliato scarso scorretto
    afgekeurd afgewezen fout slecht avvisad dårlig dålig dåligt underkänd felaktig
    niepoprawny odrzucony zła złe zły kötü yanlış reddedildi xấu buruk
    неверно неправильно отклонено плохо плохой ужасно
    不満 不満足 不满意 불만족
    差 坏 很差 不好 不正确 錯誤 错误 不通过 拒绝 拒絕 不合格 不喜欢 踩 悪い 不可 不正解 却下 不採用
    나쁨 싫어요 거부 거절 불합격 오답
    سيئ مرفوض خطأ बुरा गलत वाईट רע גרוע שגוי נדחה פסול بد نادرست غلط رد_شد
    খারাপ ভুল மோசம் చెడు แย่ ไม่ดี ผิด ปฏิเสธ κακό κακή κακός λάθος απορρίφθηκε
    huono väärin hylätty rossz helytelen elutasítva rău greșit respins
    špatné špatný nesprávně nesprávne loš loše netočno slab slikts blogas masama mbaya
    погано відхилено лошо лош грешно лоше
    ❌ ✖ ✗ × ✕ 😡 😞 🙁 ☹ 💩
    """
)  # fmt: skip
_VERY = re.compile(
    r"(?:very|really|extremely|sehr|wirklich|tres|vraiment|muy|molto|muito|zeer|erg|mycket|meget|очень|дуже|"
    r"bardzo|cok|velmi|foarte|很|非常|とても)_?(?=.)"
)
# Signs of praise around a word, as in `🟢 good`. They turn nothing round.
_PRAISED = re.compile("^(?:[🟢✅✔✓☑👍]\ufe0f?_?)+(?=.)|(?<=.)(?:_?[🟢✅✔✓☑👍]\ufe0f?)+$")
_NOT = re.compile(r"(?:not|nicht|kein|pas|non|no|nao|niet|inte|ikke|не|nie|ei)_(?=.)")


def judgement_of(value: str) -> int:
    """Return 1 for a word of praise, -1 for one of blame, and 0 for any other.

    Args:
        value: The value as `plain_word` spells it, such as `sehr_gut`.
    """
    bare = _VERY.sub("", value, count=1)
    for word in dict.fromkeys((value, bare, _PRAISED.sub("", value))):
        if (word in _GOOD) is not (word in _BAD):
            return 1 if word in _GOOD else -1
    denied = _NOT.sub("", value, count=1)
    # "Not bad" is no praise that everybody means.
    return -1 if denied != value and judgement_of(denied) > 0 else 0


# In a phrase, these words say what is wrong with an answer: `wrong answer`, `contains a factual error`.
_FAULTS = re.compile(
    r"(?:errors?|mistakes?|false|inaccura\w+|hallucinat\w+|incomplete|irrelevant|off_topic|harmful|biased|"
    r"offensive|outdated|misleading|made_up|fabricat\w+|truncated|unsupported|nonsens\w*|poor\w*|bad\w*|"
    r"worse|worst|\w*fehler\w*|falsch\w*|schlecht\w*|erreurs?|fausse|errores|errori|erros?|fouten?|onjuist\w*)"
)
_BLAME = (_BAD | {"false"}) - (FALSE - {"false"}) - {"down", "neg", "0", "mal"}
_DENIALS = gendered_words(
    "no not non never none without nothing isnt dont doesnt free kein keine keinen nicht nie ohne nichts "
    "pas sans aucun aucune sin nada ninguno ningún nenhum sem senza nessun niet geen zonder inte ikke utan "
    "не нет без"
)
_PARTS = re.compile(r"[^\W_]+")


def blames(value: str) -> bool:
    """Return whether a value, in the spelling of `plain_word`, has a word of blame that nothing weakens.

    `wrong answer` and `has errors` blame. `no errors` and `wrong but useful` leave it open.
    """
    if judgement_of(value) < 0:
        return True
    words = set(_PARTS.findall(value.replace("'", "").replace("\u2019", "")))
    if words & _DENIALS or words & (_GOOD - TRUE):
        return False
    return bool(words & _BLAME) or any(map(_FAULTS.fullmatch, (*words, value)))
