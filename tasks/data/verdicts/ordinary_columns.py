"""Recognize names of ordinary columns of numbers and flags, which hold nobody's votes."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.data.values.field_meanings import flatten_name, plain_word, plain_words
from tasks.data.verdicts.verdict_values import NOBODY, QUANTITIES

# Sizes, times, places, prices, identifiers, and settings of programs.
_NUMBERS = QUANTITIES | plain_words(
    """
    abv ages alpha altitude amounts angle answers area atoms attempt attempts author authors average avg
    balance bandwidth batches beam beams beta bin bins birth bit bits block blocks book books born bound
    bucket budget byte bytes calories capacity cell cells cent cents century ch child children choices chunk
    chunks class classes clicks cluster clusters cm comments completions concurrency context contexts coord
    coords copies copy cpu created credit credits currency cutoff cycle date dates day_of_week days decade deg
    degree degrees delay delta density depths deviation diff difference digit digits dim dimension dimensions
    discount dist distance distractors dollars downloads dropout dt earnings edits elapsed elevation end
    energy entities entropy episode episodes error_count euro euros event events example examples expiry
    exponent facets finished factor file files first flops fold folds follower followers fps frame frames freq
    frequency fraction from gamma gap gb generation generations goals gpu gpus grade_level gradient gram grams
    grid guests h hash head heads height heights hit hits hop hops hours idf images impressions inch inches
    income indent index indices input_length inputs int interval iter iteration iterations items_count k kb
    kcal keywords kg km languages last lat latency latitude left lengths letters lifetime limit linenumber
    lng logprob logprobs lon long longitude lower lr m margin mass max maximum mb mean median memory meta
    meter meters metric min minimum minor mins mm mode modified money months ms n_turns negatives neighbors
    ngram ngrams node nodes ntokens num_turns number_of numbers numeric objects odds offset offsets op opened
    option options ordinal origin other outputs overlap p pages_count pair pairs parent passage passages
    patience pass_rate pct peak people percent percentage percentile period phone pid pixel pixels pk points
    pool population port positives posts potential power ppl precision prefix pressure prime prob probability
    products progress prompts proportion pt qid qty quantity quarter queries questions queue quota quotient
    radius rainfall ram range rate rates ratio reads recall recency ref references refs region related release
    rental repeat repeats replica replicas replies rep reps resolution responses retries retry returns revenue
    revision revisions rho right rooms root rotation round rounds rows_count run runs salary sale sales
    samples sd sec second segment segments sentence_count sequence seq series servings session sessions
    severity shard shards share shares shots sid sigma sim similarity site slot slots snippet sort span
    spans speed sqrt src stage
    stages start std steps_count stock stop stories subject subtotal sum support syllables
    t target tau tax tgt dst temp_c term terms tests tf thread threads threshold threshold_k ticket tier tile
    timeout times
    timestamp timestep tokens_in tokens_out tool_calls top topk topp top_k top_p total_count trailing trial
    trials tries ts ttl turns_count types uid unit units unix updated upper users utc value values var
    variance variant variants vector vertices views visibility visits vocab vocabulary volt volume vpc w wait
    warmup watts wave weekday weekly weeks wide widths win window wins wire workers worth writer xp xs
    years yes_count yob zip zone zoom
    absorbance additions adults bathrooms bed bedrooms beds biomass chlorine clones commits concentration
    conductivity course courses cq credits ct dbh deletions dilution district districts dosage dose doses
    floor
    floors gears hardness household humidity kids lab lap laps litter ml molarity nitrate od oxygen ph
    phosphate
    plate plates ppm rain replicate replicates salinity semester semesters shift shifts snow soil station
    stations strength titer trimester turbidity ward wards well wells wind zones
    auflage ausgabe band gleis heft linie reihe aula bimestre binario bloco bloque cited citations citation
    comarca cuatrimestre edição edición édition edizione equipe equipo fila lote nivel niveau nível livello
    piano planta provincia província quadra retmax région región regione sala secteur sector semaine semana
    semanas setor settimana settore tomo trimestre
    bezirk enfants etage etagen chambres curso cursos distrito distritos étage étages filhos gruppe grupo
    grupos habitaciones hijos kammer kinder klasse klassen kreis kurs magnitude pieces pièces piso pisos
    quartos schicht semestre semestres stufe turno turnos zimmer zona zonas zonen andar andares créditos
    complexity cyclomatic forks issue_count loc rev revs sloc v ver verbosity
    anzahl länge dauer seite seiten jahr jahre alter preis größe gewicht menge nummer nr zeile zeilen kapitel
    wörter zeichen stunde stunden minuten sekunden tag tage monat monate woche breite höhe betrag kosten index
    anno année années prix nombre numéro longueur durée âge ligne lignes taille poids quantité mois jour heure
    chapitre año años edad precio número cantidad longitud duración página páginas línea capítulo mes día hora
    peso tamaño numero prezzo lunghezza durata pagina età riga capitolo mese giorno ora preço idade quantidade
    leeftijd prijs aantal lengte regel gewicht jaar hoofdstuk номер цена год длина возраст количество страница
    年 月 日 年齢 年龄 价格 価格 長さ 长度 数量 番号 编号 序号 가격 나이 길이 번호
    """
)
# What a row has, is made of, or was made with.
_FLAGS = _NUMBERS | plain_words(
    """
    acoustic adult answerable anonymous async audio auto autogenerated backup bold bot cached cased chain chat
    cloud cloze code cold comment complex cot counterfactual daily debug default demo deterministic diagram
    distilled dry early easy ellipsis emphasis english exact external factoid fast few fewshot filter fluent
    follow_up foreign formal formula free french german greedy guest hard head header headless history hot
    html hybrid image imported inbound indoor inline internal is json judge latex latin legacy link linked
    list local logged logo loop lower lowercase macro male female mail manual markdown married masked math
    mobile multi multihop multimodal multiturn muted native new news newsletter nested noise noisy odd
    offline old online onsite open oss outdoor overlap paid parallel parent passive pinned plain plural poem
    poetry premium primary print pro prod prose public punctuation python quiz quote quoted random rare raw
    reasoning recent recurring registered remote reply retired retry rhyme rtl sampled satire school seasonal
    secondary shared short shuffle silent single singular slang slow sms solo song sound spoken spanish
    speech stem story strict stub student subscribed subset summary synthetic table tabular test think
    thinking tool tools trailing translated trivia turn unique uppercase urgent url verbose verse video
    diabetic diabetes female gender hypertensive male pregnant sex smoker smokes vaccinated
    vip voice warm web weekend winter wiki written yes_no zero
    has have is was were are can could does did do with without contains includes uses used in on at by from
    for to of needs should will must requires wants own owns
    """
)
_MANY = plain_words("big far high large long many much often old tall")
# Numbers that may say how wrong an answer is.
_DEGREES = plain_words("error errors grade_level severity worth")
# Ends of words for what something is, of at least six letters.
_END = re.compile(
    r"[a-z]{3,}(?:ed|able|ible|ful|less|ive|ous|tion|sion|ments?|ness|ical|onal|ised|ized|ually|ology|"
    r"erated|ural|aneous|lingual|modal|style|only|type|mode)"
)
# Alone they are given names too, as Max, Will and Can.
_GIVEN = frozenset(("can", "max", "will"))
_NAMES = frozenset((
    "ahmed", "alfred", "clement", "dagfried", "friede", "hamed", "khaled", "manfred", "mildred", "mohamed",
    "mohammed", "muhammed", "rashed", "siegfried", "waleed", "wilfred", "winifred",
))  # fmt: skip


@lru_cache(maxsize=4096)
def is_ordinary_number(name: str) -> bool:
    """Return whether a column is named after a quantity, a place, a time or a setting, as `page_count`."""
    return bool(_words_of(name) & (_NUMBERS | NOBODY))


@lru_cache(maxsize=4096)
def names_quantity(name: str) -> bool:
    """Return whether a column is named after something that is counted or measured, as `How many birds?`."""
    words = _words_of(name)
    asked = "how" in words and not words.isdisjoint(_MANY)
    # A symbol is no name of a verdict, as `#` and `%`.
    return asked or bool(words & (_NUMBERS - _DEGREES)) or not re.search(r"\w", name)


@lru_cache(maxsize=4096)
def is_ordinary_flag(name: str) -> bool:
    """Return whether a column is named after what a row is or has, as `has_code` or `translated`."""
    words = _words_of(name)
    if words & (_FLAGS | NOBODY):
        return True
    # Two words with an underscore are attributes, unless one is an initial, as in `anna_k`.
    if re.fullmatch(r"[a-z]{2,}(?:_[a-z]{2,})+|[a-z]+(?:[A-Z][a-z]+)+", name.strip()):
        return True
    return any(_END.fullmatch(word) and word not in _NAMES for word in words)


@lru_cache(maxsize=4096)
def is_all_ordinary(name: str) -> bool:
    """Return whether each word of a column's name is that of a quantity, a setting or what a row is."""
    words = {word for word in _words_of(name) if "_" not in word}
    return all(word in _FLAGS | NOBODY or _END.fullmatch(word) for word in words) if words else True


def _words_of(name: str) -> frozenset[str]:
    flat = plain_word(flatten_name(name))
    if flat in _GIVEN:
        return frozenset()
    words = re.findall(r"[^\W\d_]+", flat)
    # A letter beside a name is an initial, as in `anna_k`; `n` counts.
    initials = len(words) > 1 and any(len(word) > 1 for word in words)
    return frozenset((*(word for word in words if len(word) > 1 or word == "n" or not initials), flat))
