"""Recognize names of columns that say what a row is about, where it is from, or who wrote it.

Under such a name, words are no verdict unless they are one by themselves.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.data.values.annotators import RATERS
from tasks.data.values.field_meanings import (
    TIME_WORDS,
    flatten_name,
    gendered_words,
    plain_word,
    plain_words,
)
from tasks.data.verdicts.ordinary_columns import names_quantity
from tasks.data.verdicts.removal_names import names_consent
from tasks.data.verdicts.verdict_names import names_text
from tasks.data.verdicts.verdict_values import QUANTITIES

# What a row is about, of which kind it is, and how it is written.
_SUBJECTS = gendered_words(
    """
    accessibility account_type address agency agent airport animal app app_version apparatus appliance
    application area areas aspect assembly asset assignee attachment attribute audience author authors bank
    barcode bird block board branch brand breed browser browser_type building building_type campaign carrier
    categories category cell_line center centre century channel chapter chromosome city civilisation
    civilization class climate clinic cluster clusters college color colour commodity company complexity
    component compound concept context continent contract_type corpus cost_centre country county course crop
    cuisine culture currency customer customer_type data_source database dataset decade degree_type
    demographic department description device diagnosis dialect difficulty difficulty_level direction
    discipline disease district division document domain domains dosage_form driver drug education element
    emotion employer engine entity equipment era ethnicity event event_type exam_board faculty family farm
    field fields file file_type filename firmware flight flower folder food format forum framework fruit
    fuel game gender gene generator genre genre_name genus geo geography government grade_level grammar
    grammar_point greeting_type group habitat heading hemisphere holiday hospital hotel house icon id ids
    industry instrument insurance intent intents interval issue_type job journal journalist journey keyboard
    keyword keywords kind lab label_set lane lang language language_pair languages leaf legislation length
    lesson letter level lg library licence license license_type line lines locale locale_code location
    machine magazine mail_type make manufacturer marital market market_segment material meal medication
    medium member_type merchant method metric mineral mode model models module month movie museum name names
    nation nationality network newspaper node occupation office open_access operation opponent order_type
    organ organisation organism organization origin os os_version owner package part party path
    patient_group pattern payer payment peak people period persona personality phase phone place plan planet
    plant plant_type platform player plot politician population port pos position postcode power_source
    priority product products profession profile program project prompt_source prompt_type protocol provider
    province publication_type publisher quarter question_type queue race reader reading_level recipe
    reference_type region register relation religion repo repo_name repository requester reseller restaurant
    river road role room route sampler satellite scale scenario school school_type scientist scope screen
    season season_name seats section sector segment sender sensor sentiment series series_name server service
    setting sex shape shift ship shop site size size_class skill skills software soil song source sources
    speaker specialty species spice split sport sports stadium stage state_code station store strain street
    style styles subcategory subdomain subfield subgenre subject subjects subreddit subset subspecies
    substrate subtopic suffix supplier surgery surname symptom system tag tags tank target_audience
    target_language task tasks teacher team technology template tense theme themes therapy thread threat
    tier tissue title tone tool topic topics town track trade train trait transmission transport tree tribe
    turbine type types union unit university urgency urgent url user variety vehicle vehicle_type vendor
    venue version vertical vessel vintage virus visitor voice volcano ward warehouse weapon weather website
    wing wood workflow writer year zodiac zone zoo
    abonnement abteilung anhang anlage autor behörde beruf betrieb branche datei dienstleister dokument
    dringlichkeit fach fachgebiet familie farbe filiale firma form gattung gebiet gebäude gerät geräte
    geschlecht gruppe herkunft hersteller kanal kapitel kategorie klasse kontinent konto kunde kundentyp
    land lektor lieferant maschine material medium modell name organisation ort pflanze plattform priorität
    produkt quelle region rolle rubrik schwierigkeit segment sparte sprache stadt standort strecke tarif
    thema themen tier titel typ unterkategorie ursprung verfasser verlag vertragsart werk werkstoff
    zielgruppe zweig übersetzer
    abonnement abonné adresse agence appareil auteur bâtiment catégorie chapitre classe client couleur
    difficulté domaine entreprise espèce famille fournisseur genre groupe journal langue lieu magasin
    maladie marque matière métier niveau nom pays plante produit région rôle service sexe sujet support
    taille thème titre usine ville véhicule éditeur état_civil
    aparato asignatura autor barrio canal capítulo categoría ciudad clase cliente color comuna departamento
    dificultad editorial empresa enfermedad especie estado_civil fuente grupo género idioma lengua lugar
    marca materia nivel nombre oficio origen país planta producto profesión proveedor provincia región rol
    sección sexo talla tamaño tema tienda tipo turno título vehículo
    argomento assunto autore azienda bairro canale categoria cidade città classe cliente comune cor
    disciplina editora empresa escola especie espécie estado_civil fonte fornecedor gênero idioma lingua
    livello logradouro loja lugar luogo língua malattia marca materia matéria nazione nome nível origem
    paciente paese país planta prodotto produto profissão reclamação regione ruolo secretaria sesso setor
    sexo seção specie stazione tema tipo título unidade via
    afdeling auteur bron categorie gemeente geslacht klant kleur land leverancier merk moeilijkheid naam
    niveau onderwerp plaats soort taal titel vak winkel
    źródło język kategoria temat язык категория тема источник автор название тип
    类别 類別 分类 分類 主题 主題 语言 語言 言語 来源 來源 出典 领域 領域 难度 難易度 类型 類型 科目
    作者 标签 標籤
    カテゴリ カテゴリー タグ 種類 분류 주제 언어 출처 난이도 유형 작성자
    """
)
# Quantities whose values may be words, as `weekday: Monday` and `unit: kg`.
_WORDED = plain_words(
    """
    ages band bands birth block blocks bucket chunk class classes country currency date day day_of_week days
    districts duration edition expiry facets floor folds interval keywords lab languages lat latitude lon
    longitude mode month months order passage period plate plates quarter queue regions room rooms season
    semester session sessions shard shards shift shifts site size slot soil sort span stations steps term tile
    time trimester unit units wards week weekday well wells wind year zone zones
    anno année aula band bezirk bimestre bloco bloque comarca curso cursos distrito distritos edición edição
    edizione edition einheit equipe équipe equipo fila grupos gruppe heft jahr jour kammer klassen kreis kurs
    linie lote mes mês mese mois monat monate nivel piano piso quadra quartos reihe sala secteur sector
    semaine semana semestre semestres settore tag tomo trimestre unidad unidade unité unità wochentag giorno
    día dia zimmer zona zonas zonen
    """
)
# Symbols of numbers.
_COUNTERS = frozenset("#%№$€£ ")
# What a flag of a row's own nature is about, as in `has_code` and `multi_turn`.
_NATURES = plain_words(
    """
    admin adult annual anonymous answerable attachment attachments audio auto automatic beta bold cached
    chain chat code coding commercial compressed containerized cot creative daily demo dev digital domestic
    draft_pr electric emoji employee english enterprise equation equations example existing external factoid
    faq few fewshot fiction fictional figure follow_up foreign fork formal formula function functions
    generated german gluten greedy greeting handwritten history html hybrid image images indoor inline
    insured internal international json latex legacy letter link links list lists local long loop lowercase
    machine male manager manual markdown married math member metric mobile monthly multi multihop
    multilingual multimodal multiple multistep multiturn native nested newsletter number numbers numeric
    on_call open_access organic oss outdoor overtime owned paid parallel paraphrase paraphrased parent
    passive pet pets picture plural poem poetry pr premium proprietary prose public pull pull_request python
    quiz quote quoted random rare reasoning recurring remote request retry roleplay rural sampled seasonal
    self_service server shared short shot shots single smoker spoken stem story stream streaming student
    subscribed subscriber synthetic system table tables tenant think thinking thought thoughts tool tools
    translated translation trial trivia turn turns unicode unique uppercase urban urgent url vegan
    vegetarian veteran video vip voice web weekend weekly wiki wildlife winter written
    """
)
# What is done to any row at some time.
_EVENTS = gendered_words(
    """
    added answered asked birth born captured closed collected created creation crawled due edit edited end
    ended entered first indexed ingested last modification modified observed opened posted publication
    published received recorded recovered release released sent start started submitted update updated
    written
    angelegt erfasst erstellt geändert beantwortet gestellt créé modifié envoyé reçu creado creada editado
    enviado recibido criado atualizado creato modificato aangemaakt gewijzigd
    """
)
_ENDS = plain_words("until")
_LINKS = plain_words(
    "a an and are by can contains did do does for from had has have in includes involves is more needs no "
    "num of on one or per requires than the to used uses was were with without"
)
_WORD = re.compile(r"[^\W\d_]+")
# Names that say nothing without those of the objects around them.
_BARE = frozenset(("code", "id", "key", "label", "name", "text", "title", "value"))


@lru_cache(maxsize=4096)
def names_description(path: str) -> bool:
    """Return whether a word of a key's last name says what its row is about, as in `question_type`."""
    words = _words_of(path)
    return not words.isdisjoint(_SUBJECTS | _WORDED) or names_author(path) or names_text(path)


@lru_cache(maxsize=4096)
def names_author(path: str) -> bool:
    """Return whether a word of a key's last name is one for a person, or `by`, as in `authorized_by`."""
    return not _words_of(path).isdisjoint(RATERS | {"by"})


@lru_cache(maxsize=4096)
def names_amount(path: str) -> bool:
    """Return whether a key is named after something that is counted or measured, as `page` and `#`.

    Its values have numbers, as `3 days`. A word under such a name, as `stage: scrapped`, is no amount.
    """
    words = _words_of(path)
    if not words:
        return bool(path) and set(path) <= _COUNTERS
    return words <= QUANTITIES or names_quantity(_last_name(path))


@lru_cache(maxsize=4096)
def names_nature(path: str) -> bool:
    """Return whether a flag's name says only what its row is or has, as `has_code`."""
    words = _words_of(path)
    # A symbol, as `†`, says nothing.
    if not words:
        return False
    words -= _LINKS
    return words <= _SUBJECTS | _NATURES | QUANTITIES or names_consent(path)


@lru_cache(maxsize=4096)
def names_time(path: str) -> bool:
    """Return whether a word of a key's last name is one for a time, as in `created_at`."""
    return not _words_of(path).isdisjoint(TIME_WORDS - _ENDS)


@lru_cache(maxsize=4096)
def names_event(path: str) -> bool:
    """Return whether a key is named after what may happen to any row, as `created` and `first_published`."""
    return not _words_of(path).isdisjoint(_EVENTS)


@lru_cache(maxsize=4096)
def names_side(path: str) -> bool:
    """Return whether a key is about one of two compared answers, as `score_rejected`."""
    return not _words_of(path).isdisjoint(("chosen", "rejected"))


def _last_name(path: str) -> str:
    """Return the last name of a path. Abbreviations end with a dot, as `Freig.`."""
    return path.rstrip(".").rpartition(".")[2]


def _words_of(path: str) -> frozenset[str]:
    *above, last = path.replace("[]", "").rstrip(".").split(".")
    flat = plain_word(flatten_name(last))
    if flat in _BARE and above:
        flat = f"{plain_word(flatten_name(above[-1]))}_{flat}"
    return frozenset(_WORD.findall(flat.replace("_", " ")))
