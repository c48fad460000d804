"""Say of a value in words whether it speaks for an answer or against it, in many languages."""

from __future__ import annotations

import re

from tasks.data.parsing.field_meanings import ACCEPT, NEGATIVE, POSITIVE, REJECT, plain_word


def _plain(words: str) -> frozenset[str]:
    return frozenset(map(plain_word, words.split()))


_GOOD = POSITIVE | ACCEPT | _plain(
    """
    excellent perfect high_quality keep usable verified
    angenommen brauchbar freigegeben genehmigt gut hilfreich korrekt richtig akzeptiert passend
    accepté accepter approuvé approuver bien bon bonne correcte correct utile
    aceptada aceptado aprobada aprobado buena bueno correcta correcto excelente útil
    aceite aceito aprovada aprovado boa bom correto ótimo
    accettato approvato buono corretto ottimo
    goed goedgekeurd juist uitstekend bra utmärkt jättebra godkjent godkänd godkendt
    dobra dobre dobry poprawny zaakceptowany iyi doğru onaylandı tốt đúng baik
    верно одобрено отлично правильно принято хорошо хороший
    好 很好 良好 优秀 正确 通过 通過 接受 合格 采纳 喜欢 赞 良い よい 可 正解 承認 採用
    좋음 좋아요 승인 통과 합격 정답
    جيد ممتاز مقبول صحيح अच्छा सही चांगले טוב מצוין נכון מאושר خوب عالی درست تایید_شد
    ভালো সঠিক நல்லது మంచి ดี ถูกต้อง อนุมัติ καλό καλή καλός σωστό άριστο εγκρίθηκε
    hyvä oikein hyväksytty erinomainen jó helyes elfogadva kiváló bună corect aprobat
    dobré dobrý správně správne dobar dobro točno dober labs geras mabuti nzuri
    добре вірно чудово схвалено добър вярно добра
    ✅ ✔ ✓ ○ 😀 😊 🙂 👏
    """
)  # fmt: skip
_BAD = NEGATIVE | REJECT | _plain(
    """
    broken garbage hallucinated low_quality nonsense spam unsafe unusable
    abgelehnt falsch inkorrekt mangelhaft schlecht unbrauchbar ungeeignet ungenügend verworfen zurückgewiesen
    faux incorrecte mal mauvais mauvaise refusé rejeté rejeter inutile
    deficiente incorrecta incorrecto mala malo pésimo rechazada rechazado
    errado incorreto mau má péssimo recusado rejeitada rejeitado ruim
    cattivo pessimo respinto rifiutato sbagliato scarso scorretto
    afgekeurd afgewezen fout slecht avvisad dårlig dålig dåligt underkänd felaktig
    niepoprawny odrzucony zła złe zły kötü yanlış reddedildi xấu buruk
    неверно неправильно отклонено плохо плохой ужасно
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
_NOT = re.compile(r"(?:not|nicht|kein|pas|non|no|nao|niet|inte|ikke|не|nie|ei)_(?=.)")


def judgement_of(value: str) -> int:
    """Return 1 for a word of praise, -1 for one of blame, and 0 for any other.

    Args:
        value: The value as `plain_word` spells it, such as `sehr_gut`.
    """
    bare = _VERY.sub("", value, count=1)
    for word in dict.fromkeys((value, bare)):
        if (word in _GOOD) is not (word in _BAD):
            return 1 if word in _GOOD else -1
    denied = _NOT.sub("", value, count=1)
    # "Not bad" is no praise that everybody means.
    return -1 if denied != value and judgement_of(denied) > 0 else 0
