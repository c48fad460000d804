"""Recognize verdicts by a key's values, and names of verdicts in other languages.

One value says little: `no` may be a language. So all different values of a key are examined together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date
from functools import lru_cache
from typing import Any

from tasks.data.values.field_meanings import (
    FALSE,
    NEGATIVE,
    POSITIVE,
    SHORTCODE,
    TRUE,
    gendered_words,
    plain_word,
    split_words,
)
from tasks.data.values.scale_direction import tells_direction
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.verdict_names import value_parts
from tasks.data.verdicts.verdict_openings import opening_of

MOST_VALUES = 12  # different values of a key that is an enumeration
_LONGEST = 40  # characters of such a value
_WORD, _HUMP = re.compile(r"[^\W\d_]+"), re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Brackets are no such signs: `[deleted]` is how a forum writes a missing author.
_EDGES, _LETTER, _KEYCAP = (
    re.compile(r"^[^\w()\[\]{}<>]+_*|_*[^\w()\[\]{}<>]+$"),
    re.compile(r"[^\W\d_]"),
    "\u20e3",
)
LONG = "\0"  # replaces a value that is no short word or number

# Words that are nearly always judgements. `yes`, `up`, `right` or `pos` may mean something else.
WEAK = frozenset((
    *TRUE, *FALSE, "up", "down", "like", "right", "pos", "neg", "pass", "ok", "+1", "-1",
    "positive", "negative",
))  # fmt: skip
_JUDGEMENTS = gendered_words(
    """
    broken discard discarded lgtm nack nah needs_love needs_rework nope rework ship_it
    do_not_use dont_use drop_it excellent flagged
    garbage hallucinated hallucination high_quality invalid keep low_quality mediocre meh needs_changes
    needs_edit needs_editing needs_fix needs_fixing needs_improvement needs_review needs_revision needs_work
    erroneous inadequate insufficient refuted unsatisfactory
    nonsense not_good not_helpful not_ok not_okay not_usable perfect so_so spam thumb_down thumb_up
    to_be_deleted to_be_fixed to_fix unsafe unusable unverified usable verified very_bad very_good very_poor
    angenommen brauchbar falsch freigegeben genehmigt gut korrekt lösche löschen mangelhaft
    mittelmäßig nacharbeiten nachbessern richtig schlecht sehr_gut sehr_schlecht unbrauchbar ungenügend
    ungeeignet abgelehnt verworfen überarbeiten zurückgewiesen streichen stimmt_nicht unzureichend
    inadéquat insuffisant insuffisante à_refaire errato erróneo inadecuado inadeguato inadequado insuficiente
    insufficiente improcedente
    accepté accepter approuvé approuver bien bon bonne correcte faux incorrecte mal mauvais mauvaise médiocre
    passable refusé rejeté rejeter très_bien très_bon à_corriger à_revoir
    aceptada aceptado aprobada aprobado buena bueno correcta correcto deficiente excelente incorrecta
    incorrecto mala malo muy_bien muy_bueno muy_mal pésimo rechazada rechazado revisar
    aceite aceito aprovada aprovado boa bom correto errado incorreto muito_bom mau má péssimo recusado
    rejeitada rejeitado ruim ótimo
    accettato approvato buono cattivo corretto da_rivedere ottimo pessimo respinto rifiutato sbagliato
    scarso scorretto
    afgekeurd afgewezen fout goed goedgekeurd juist matig slecht uitstekend
    avvisad dårlig dålig godkjent godkänd godkendt underkänd dobra dobre dobry niepoprawny odrzucony
    poprawny zaakceptowany zła złe zły iyi kötü doğru onaylandı reddedildi yanlış tốt xấu đúng baik buruk
    верно неверно неправильно одобрено отклонено отлично плохо плохой правильно принято ужасно хорошо
    хороший
    満足 不満 不満足 满意 不满意 만족 불만족
    好 差 坏 很好 很差 良好 优秀 不好 正确 錯誤 错误 通过 通過 不通过 拒绝 拒絕 接受 合格 不合格 采纳
    喜欢 不喜欢 赞 踩 良い よい 悪い 不可 正解 不正解 承認 却下 要修正 差し戻し 不採用 採用
    좋음 나쁨 좋아요 싫어요 승인 거부 거절 통과 합격 불합격 정답 오답
    جيد سيئ ممتاز مقبول مرفوض صحيح خطأ अच्छा बुरा सही गलत चांगले वाईट
    טוב רע גרוע מצוין נכון שגוי מאושר נדחה פסול خوب بد عالی درست نادرست غلط تایید_شد رد_شد اچھا برا خراب
    ভালো খারাপ সঠিক ভুল நல்லது மோசம் మంచి చెడు ดี แย่ ไม่ดี ถูกต้อง ผิด อนุมัติ ปฏิเสธ
    καλό καλή καλός κακό κακή κακός σωστό λάθος άριστο εγκρίθηκε απορρίφθηκε
    hyvä huono oikein väärin hyväksytty hylätty erinomainen jó rossz helyes helytelen elfogadva elutasítva
    kiváló bună rău corect greșit aprobat respins dåligt jättebra utmärkt felaktig dobré špatné
    dobrý špatný správně nesprávně zlý správne nesprávne dobar loš dobro loše točno netočno slab dolent hea
    halb labs slikts geras blogas teruk mabuti masama nzuri mbaya добре погано вірно чудово схвалено
    відхилено добър лошо лош вярно грешно добар добра лоше
    ✅ ❌ ✔ ✖ ✗ ✓ ○ × ✕ 👍 👎 😀 😊 🙂 😡 😞 🙁 ☹ 💩 👏
    """
)
# States of a row that somebody removed.
REMOVED = gendered_words(
    """
    archived banned blocked content_filter delete_me deleted deprecated hidden inactive no_consent obsolete
    opt_out opted_out
    removed retracted revoked to_delete trash trashed withdrawn archiviert gelöscht papierkorb widerrufen
    archivé supprimé corbeille archivado borrado eliminado papelera removido excluído eliminato cestino
    verwijderd удалено 已删除 已刪除 削除済み 삭제됨
    """
)
_STRONG = _JUDGEMENTS | REMOVED | (POSITIVE | NEGATIVE) - WEAK
# Answers to a survey's question, such as `very dissatisfied`: one of these words, and words for a degree.
_OPINIONS = gendered_words(
    """
    accurate agree agrees disagree disagrees dissatisfied inaccurate irrelevant recommend relevant satisfied
    unsatisfied
    einverstanden unzufrieden zufrieden insatisfait insatisfaite satisfait satisfaite insatisfecho satisfecho
    insatisfeito satisfeito insoddisfatto soddisfatto ontevreden tevreden missnöjd nöjd mécontent mécontente
    hilfreich nützlich utile inutile útil inútil nuttig behulpzaam przydatne przydatny полезно полезный
    """
) | {word for word in _STRONG if word.isalpha()}
DEGREES = gendered_words(
    """
    completely entirely extremely fairly fully generally highly mainly moderately mostly neither nor not
    partially partly pretty quite rather really slightly so somewhat strongly totally very
    absolut äußerst eher ganz gar nicht relativ sehr teilweise überhaupt voll völlig weder weitgehend
    assez pas peu plutôt pas_du_tout tout très algo bastante muy nada no poco abbastanza molto non bem muito
    não erg helemaal niet zeer mycket inte
    """
)
_PHRASES = gendered_words(
    """
    stimme_zu stimme_nicht_zu stimme_voll_zu trifft_zu trifft_nicht_zu trifft_voll_zu d'accord pas_d'accord
    tout_à_fait_d'accord pas_du_tout_d'accord plutôt_d'accord de_acuerdo en_desacuerdo totalmente_de_acuerdo
    totalmente_en_desacuerdo very_likely very_unlikely
    """
)
# What a judgement of two words may be about, as in `incorrect answer`, `false statement`, `poor quality`.
_THINGS = frozenset((
    "answer", "answers", "assistant", "claim", "completion", "content", "example", "fact", "facts", "info",
    "information", "output", "prompt", "quality", "question", "reply", "response", "row", "sample",
    "statement", "translation", "audit", "check", "lqa", "off", "proofreading", "qa", "qc", "review", "sign",
    "signoff", "test", "validation", "antwort", "aussage", "qualitat", "reponse", "qualite", "respuesta",
    "resposta", "risposta", "antwoord",
))  # fmt: skip
_ABOUT_THINGS = _OPINIONS | {"false", "true"}
_STARS, _SIGNS = frozenset("★☆⭐✩"), frozenset("+-＋–—−－/")
# Stages of a text. A draft, among these or alone, is not meant to be learned yet.
_STAGES = gendered_words(
    """
    accepted active complete completed done draft drafts final finished in_progress in_review live new open
    published ready released review submitted unfinished wip work_in_progress entwurf fertig brouillon
    borrador bozza druckfahne endfassung minuta rascunho rohfassung
    """
)
# Words for or against something, which as an opening are a vote, as in `down: it is wrong`.
_VOTES = frozenset(
    ("+", "-", "+1", "-1", "down", "like", "neg", "negative", "ok", "pass", "pos", "positive", "up")
)
_TITLES = gendered_words("category genre heading subject tag tags theme title topic topics type")
DRAFTS = gendered_words(
    "draft drafts unfinished wip work_in_progress entwurf brouillon borrador bozza minuta rascunho rohfassung"
)
# Of a table of answers by what they are and what they were taken for.
_CONFUSED = frozenset(("tp", "fp", "tn", "fn"))

# Names of verdicts and scores in other languages. The English ones are in field_meanings.py.
_NAMES = gendered_words(
    """
    bewertung bewertet beurteilung urteil genehmigt freigegeben abgelehnt gelöscht qualität benotung
    schulnote wertung korrekt richtig einschätzung stimme evaluation évaluation appréciation approuvé rejeté
    qualité supprimé jugement correcte valoración calificación puntuación aprobado rechazado calidad correcto
    eliminado archiviert einwilligung halluziniert papierkorb consentement consentimiento consenso
    evaluación opinión valutazione voto giudizio approvato rifiutato qualità corretto punteggio
    avaliação aprovado rejeitado qualidade pontuação julgamento correto beoordeling goedgekeurd afgekeurd
    kwaliteit oordeel betyg bedömning godkänd kvalitet vurdering godkendt godkjent ocena jakość zatwierdzone
    оценка одобрено отклонено качество рейтинг оцінка якість değerlendirme puan onay kalite đánh_giá
    penilaian kualitas التقييم تقييم रेटिंग मूल्यांकन הערכה דירוג ציון איכות ارزیابی امتیاز کیفیت درجہ_بندی
    মূল্যায়ন রেটিং மதிப்பீடு αξιολόγηση βαθμολογία ποιότητα arvio arvostelu arviointi laatu értékelés
    minősítés minőség evaluare calitate hodnocení hodnotenie kvalita ocjena оцена valoració avaluació hinnang
    vērtējums įvertinimas tathmini
    """
)
# Scripts without spaces between words: such a term anywhere in the name is enough.
_TERMS = tuple(gendered_words(
    """
    评分 评价 质量 审核 评级 评估 打分 評分 評價 品質 評価 判定 採点 承認 평가 점수 평점 승인 품질
    คะแนน ประเมิน คุณภาพ
    """
))  # fmt: skip
# Names that mean a grade beside a number, but a remark or something else beside a word.
_GRADES = gendered_words(
    "note nota noten notas cijfer karakter arvosana avis not punkt punkte puntos punti punten pontos "
    "баллы балл 점 分 分数 点 点数 得分"
)
# What an answer is judged by. A number under such a name is a score.
_QUALITIES = gendered_words(
    """
    adequacy appropriateness clarity completeness comprehensiveness conciseness consistency creativity
    empathy engagement formatting friendliness grammar harmlessness honesty impression informativeness
    instruction_following mark marks naturalness novelty originality overall politeness professionalism
    readability reliability safety soundness specificity style tone trustworthiness usefulness
    """
)
_FILLERS = frozenset(("answer", "following", "instruction", "of", "overall", "response", "the"))
_LETTER_GRADE = re.compile(r"[A-F][+-]?")

NAME_WORDS = (
    _NAMES | _GRADES | _QUALITIES
)  # without one of them, no name means a verdict by `named_as_verdict`

# Columns of numbers that are not votes.
QUANTITIES = gendered_words(
    """
    age amount batch chapter char chars characters code column cost count day depth difficulty duration
    edition epoch fold hour id ids idx index item items layer len length level line lines minute month n no
    num number order page pages paragraph part parts place port position price priority round row rows
    seconds section sentence sentences seed serial size split step steps temp temperature time token tokens
    total turn turns variant verse version volume week width word words x y year z
    """
)
# Columns that are not people, regardless of their values.
NOBODY = gendered_words(
    """
    action agent arm bot category check checked checkpoint comment decision engine group kind lang language
    llm model models mood opinion outcome provider result review section sentiment source state status system
    tag tags tone topic type version
    """
)

# The scale of a question, as in `How was it? (0-10)`.
SCALE_RANGE = re.compile(r"[(\[]\s*([01])\s*(?:-|–|—|/|to|bis|à|a|\.\.+|…)\s*([3-9]|10|100)\s*[)\]]", re.I)


def named_as_verdict(name: str, value: Any) -> bool:
    """Return whether a key's name means a verdict or a score in a language other than English.

    A name with the scale of a question in brackets does so too.
    """
    verdict, grade = _names_verdict(name)
    if verdict:
        return True
    letter = isinstance(value, str) and _LETTER_GRADE.fullmatch(value.strip())
    if letter and plain_word(name) in ("mark", "marks"):
        return True
    score = as_score(value)
    if score is None:
        return False
    scale = SCALE_RANGE.search(name)
    inside = scale is not None and float(scale[1]) <= score <= float(scale[2])
    words = set(_WORD.findall(plain_word(name)))
    return grade or tells_direction(name) or (inside and not words & (QUANTITIES | NOBODY))


@lru_cache(maxsize=4096)
def _names_verdict(name: str) -> tuple[bool, bool]:
    """Return whether a name means a verdict, and whether it means a grade beside a number."""
    word = plain_word(_HUMP.sub("_", name))
    words = set(_WORD.findall(word))
    named = bool(words & _NAMES) or word in _NAMES
    named = named or (not word.isascii() and any(term in word for term in _TERMS))
    qualities = words & _QUALITIES or word in _QUALITIES
    return named, bool(words & _GRADES or (qualities and words <= _QUALITIES | _FILLERS))


def short_values(value: Any) -> Iterable[str]:
    """Yield the short forms of a value's items for the set of a key's values; LONG for texts and objects."""
    for one in value_parts(value):
        if isinstance(one, bool | int | float):
            yield str(one).lower()
        elif isinstance(one, date):
            # Parquet has dates, which other files write as text.
            yield plain_word(one.isoformat())
        elif isinstance(one, str) and len(one) <= _LONGEST:
            yield plain_word(split_words(one)) or one.strip()
        else:
            yield LONG


def short_openings(value: Any) -> Iterable[str]:
    """Yield what stands before the reason of each text in a value, and short values as they are."""
    for one in value if isinstance(value, list) else [value]:
        begun = opening_of(one)
        yield from [plain_word(begun)] if begun else short_values(one)


def look_like_openings(name: str, openings: Collection[str], values: Collection[str]) -> bool:
    """Return whether every value of a key is a verdict or goes on after one, as `Rejected. It is wrong`.

    Args:
        name: The key. A title or a topic is no verdict.
        openings: All its different values, as `short_openings` spells them.
        values: The same as `short_values` spells them. Without a reason in any, they alone decide.
    """
    if set(openings) <= set(values):
        return False
    words = set(_WORD.findall(plain_word(_HUMP.sub("_", name.rpartition(".")[2]))))
    if words & _TITLES or not openings or LONG in openings or len(openings) > MOST_VALUES:
        return False
    return all(is_judgement(value) or value in _VOTES for value in openings if value)


def bare_words(values: Collection[str]) -> frozenset[str]:
    """Return values without the signs around their words, `🔴_rejected` as `rejected`.

    Args:
        values: All different values of a key, as `short_values` spells them. A value without two letters,
            such as `-1` or `★★`, stays as it is.
    """
    return frozenset(_bare_word(value) for value in values)


def _bare_word(value: str) -> str:
    bare = _EDGES.sub("", SHORTCODE.sub("", value.replace(_KEYCAP, "")))
    return bare if len(_LETTER.findall(bare)) > 1 else value


def look_like_verdicts(values: Collection[str]) -> bool:
    """Return whether the values of a key are a few words that include a judgement."""
    if not values or len(values) > MOST_VALUES or LONG in values:
        return False
    if all(set(value) <= _STARS for value in values):
        return True
    # A minus alone is an empty cell.
    if all(set(value) <= _SIGNS for value in values) and any("+" in value for value in values):
        return True
    if set(values) <= _STAGES and set(values) & DRAFTS:
        return True
    if len(values) > 1 and set(values) <= _CONFUSED:
        return True
    return any(map(is_judgement, values))


def is_judgement(value: str) -> bool:
    """Return whether a value is nearly always a judgement, also with words for its degree around it."""
    if value in _STRONG or value in _PHRASES:
        return True
    # Surveys also write the number of a degree, as in `5 - very good`.
    bare = re.sub(r"^\d+[_\s.:=)-]+", "", value)
    if not re.fullmatch(r"[^\W\d]+", bare):
        return False
    words = frozenset(bare.split("_")) - DEGREES - {""}
    if words & _THINGS:
        return bool(words - _THINGS) and words - _THINGS <= _ABOUT_THINGS
    return bool(words) and words <= _OPINIONS
