"""Recognize decisions that take a row back: states such as `on hold`, and yes or no in other languages."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from tasks.data.values.field_meanings import (
    FALSE,
    NO_WORDS,
    TRUE,
    YES_WORDS,
    flatten_name,
    plain_word,
    plain_words,
)
from tasks.data.values.score_values import as_score, is_date
from tasks.data.verdicts.held_rows import look_closed_to_robots, look_held_out, look_left_out
from tasks.data.verdicts.verdict_names import forbids_use
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

_BEFORE = r"(?:(?:put|placed|is|was|currently|still|please|bitte|derzeit|noch|por_favor|merci_de)_)*"
# A state of a row that nobody may learn from yet, or no more, in the spelling of `plain_word`.
_HELD = re.compile(
    rf"{_BEFORE}(?:on_hold|onhold|held|held_back|withheld|parked|suspended|quarantined?|embargoed|under_embargo|"
    r"(?:under|in)_(?:dispute|appeal|investigation|quarantine)|disputed|contested|reversed|overturned|"
    r"superseded|voided|overridden|reverted|recalled|minimi[sz]ed|outdated|duplicated?|disregard(?:ed)?|"
    r"struck_(?:out|through)|overruled|nullified|annulled|invalidated|rescinded|disqualified|unfit|inadmissible|taken_back|"
    r"zuruckgestellt|zuruckgezogen|zuruckgenommen|ausgesetzt|gesperrt|pausiert|aufgehoben|angefochten|"
    r"strittig|uberholt|durchgestrichen|gestrichen|abgelaufen|ungultig|ungeeignet|vorerst_nicht|in_quarantane|"
    r"perimee?|bloquee?|masquee?|supprimee?|invalide|en_attente|en_suspens|en_pause|suspendue?|annulee?|infirmee?|contestee?|retiree?|inutilisable|"
    r"(?:vencid|caducad|bloquead|duplicad|desactualizad|desatualizad|desconsiderad|descartad|eliminad|"
    r"excluid|invalid|obsolet|ocult|substituid|scadut|bloccat|duplicat|nascost|scartat|eliminat)[oa]|"
    r"en_espera|en_pausa|suspendid[oa]|anulad[oa]|revocad[oa]|revertid[oa]|impugnad[oa]|retirad[oa]|retenid[oa]|"
    r"in_attesa|in_sospeso|sospes[oa]|annullat[oa]|revocat[oa]|ritirat[oa]|contestat[oa]|"
    r"em_espera|em_pausa|suspens[oa]|revogad[oa]|retid[oa]|"
    r"in_de_wacht|opgeschort|ingetrokken|aangehouden|herroepen|betwist|"
    r"приостановлено|отложено|отозвано|отменено|搁置|擱置|暂停|暫停|保留|撤回|撤销|保留中|보류|철회)"
)
_AFTER = re.compile(r"(?:$|[_:;,.!(\[/–—-])")
# What a state may be of, if it is not the row's. A court reverses a judgment, and a shop holds an order.
_SUBJECTS = plain_words(
    """
    account accounts basket bill billing booking bookings cart case cases color colour contract court customer
    delivery direction disposition flight game invoice invoices license licence match member membership order
    orders parcel payment payments player product products project refund reservation service shipment
    shipping sort stock subscription subscriptions supplier team ticket tickets trade traffic train
    transaction transactions transport user users vehicle vehicles weather
    auftrag bestellung buchung konto kunde lieferung rechnung versand vertrag zahlung
    client commande compte contrat facture livraison paiement cliente contrato cuenta entrega envío factura
    pago pedido conto contratto fattura ordine pagamento spedizione conta encomenda fatura bestelling betaling
    factuur levering klant заказ оплата доставка 订单 訂單 注文 주문
    """
)
_SHOP = plain_words(
    """
    backordered delivered dispatched in_transit out_for_delivery paid packed processing refunded returned
    shipped sold unpaid bezahlt geliefert storniert unterwegs versandt versendet zugestellt expédiée expédié
    livrée livré payée payé enviado entregado pagado spedito consegnato pagato entregue enviada pago verzonden
    geleverd betaald доставлен отправлен оплачен
    """
)
# Names of what a row is or is about.
_ABOUT = plain_words(
    """
    author category class country dataset description domain format gender genre id intent kind label_set lang
    language license licence locale location name origin path persona place region role sex source split style
    subject subset tag tags task theme title tone topic topics type url
    """
)
_TITLES = _ABOUT - plain_words("split subset")
# Names of a decision by a second person. Any few words under them are asked about.
_DECIDED = plain_words(
    """
    adjudicated adjudication adjudications arbitrated arbitration arbitrations curated curation ruling rulings
    overrule appeal appeals quality_control quality_check quality_assurance second_opinion
    kuratierung qualitätskontrolle qualitätsprüfung qualitätssicherung endkontrolle schiedsspruch schlichtung
    zweitprüfung widerspruch arbitrage contrôle_qualité modération recours arbitraje control_de_calidad
    moderación recurso arbitraggio controllo_qualità moderazione ricorso arbitragem controle_de_qualidade
    moderação arbitrage kwaliteitscontrole moderatie модерация арбитраж 仲裁 品質管理 质检 質檢 검수
    """
)
# Names above and below each other in `curation.qc.status`.
_CHECKS = _DECIDED | plain_words(
    "approval audit moderation qa qc review reviews signoff validation verification vetting"
)
_STATES = plain_words(
    """
    decision flag outcome result results state status value verdict stand zustand ergebnis statut état estado
    stato
    """
)
# Names of who, when, why or how much.
_BESIDE = plain_words(
    """
    at batch by comment comments count date day email id ids notes number on reason round step time url user
    version
    """
)
# Ordinary questions that tables answer with yes and no.
_ORDINARY = plain_words(
    """
    abo adult anhang animal app attachment auto avec bebé bild bilder casado child children code con contains
    customer email enthält extern female fille foto fotos gluten has hat haustier image intern kind kinder
    kunde link male married marié member mit mitglied mobile mujer neukunde newsletter niño online parent
    photo premium pro raucher retired schüler smoker spam_filter sposato student studierend tiere urgent
    vegan vegetarisch verheiratet vegetarian video vip vorhanden avec_image con_imagen gehuwd
    """
)
# Logs of changes, as a database or a queue exports them: the last word of a row may be that it was deleted.
_LOGS = plain_words(
    "action activity cdc change changetype dml event eventtype mutation op operation opcode optype"
)
_ERASURES = plain_words("d del delete delete_one destroy drop erase purge remove tombstone unpublish")
_CHANGES = _ERASURES | plain_words(
    """
    a add added append c create created edit edited i index indexed insert inserted m merge merged modify
    modified noop patch publish put r read replace replaced restore save snapshot u update updated upsert
    """
)
_FOREIGN = {plain_word(word) for word in YES_WORDS | NO_WORDS} - {"no"}


def is_held(value: str) -> bool:
    """Return whether a value, in the spelling of `plain_word`, takes its row back or forbids its use."""
    found = _HELD.match(value)
    held = found is not None and _AFTER.match(value, found.end()) is not None
    return held or forbids_use(value)


def look_decided(path: str, values: Collection[str]) -> bool:
    """Return whether the few short values of a key decide about its row.

    Args:
        path: The key. Neither the status of an order nor a topic decides about a row.
        values: All its different values, as `short_values` spells them.
    """
    found = {value for value in values if value}
    if not found or LONG in found or len(found) > MOST_VALUES:
        return False
    above, words = _path_words(path)
    if look_held_out(words, found) or look_closed_to_robots(words, found):
        return True
    if words & _LOGS and found & _ERASURES and found <= _CHANGES:
        return True
    if not words & _TITLES and look_left_out(words, found):
        return True
    if any(map(is_held, found)) and not (above | words) & (_SUBJECTS | _ABOUT) and not found & _SHOP:
        return True
    return _is_decision(above, words, found) or answers_unknown_question(path, found)


def answers_unknown_question(path: str, values: Collection[str]) -> bool:
    """Return whether values are yes and no in another language, under a name that is not known as ordinary.

    The names of columns in such a table are rarely English, so few of them can be understood.
    """
    found = {plain_word(value) for value in values if value}
    _, words = _path_words(path)
    if words & (_ORDINARY | _ABOUT):
        return False
    # A compass has an S and an N too.
    if found in _LETTERS and not words & _COMPASS:
        return True
    found -= _NEUTRAL
    if not found & _FOREIGN or not found <= _FOREIGN | {"no"}:
        return False
    # Several words of one meaning, as `ja` and `si`, are codes of languages.
    said = [plain_word(value) in _YES for value in found]
    return len(found) == 1 or (len(found) == 2 and said.count(True) == 1)


_YES = frozenset(map(plain_word, YES_WORDS))
# Yes and no of one letter: sim and não, ja and nein, oui and non.
_LETTERS = ({"s", "n"}, {"j", "n"}, {"o", "n"})
_COMPASS = plain_words(
    "axis direction hemisphere hemisferio hemisfério lat lado latitude orientation pole side zona zone"
)
# What people answer in place of yes and no.
_NEUTRAL = plain_words(
    """
    teilweise teils teils/teils zum_teil weiß_nicht weiss_nicht keine_angabe vielleicht k.a en_partie
    partiellement peut-être je_ne_sais_pas sans_avis en_parte parcialmente a_medias tal_vez no_sé no_sabe
    ns/nc
    em_parte em_partes mais_ou_menos talvez não_sei não_sabe ns/nr não_se_aplica in_parte parzialmente forse
    non_so deels gedeeltelijk misschien weet_niet отчасти частично не_знаю - ? n/a na n.a
    """
)


def _is_decision(above: frozenset[str], words: frozenset[str], values: Collection[str]) -> bool:
    if words & (_BESIDE | _ABOUT):
        return False
    named = words & _DECIDED or (above & _CHECKS and words <= _STATES | _CHECKS)
    if not named or all(value in TRUE | FALSE for value in values):
        return bool(words & _DECIDED)
    return not all(
        as_score(value.replace("_", " ")) is not None or is_date(value.replace("_", "-")) for value in values
    )


@lru_cache(maxsize=4096)
def _path_words(path: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the words of the names above a key's last name, and the words of the last one."""
    *above, last = path.split(".")
    return frozenset().union(*map(_words, above)), _words(last)


def _words(name: str) -> frozenset[str]:
    flat = plain_word(flatten_name(name.replace("[]", "")))
    words = frozenset(flat.split("_")) | {flat}
    return words | {term for term in _DECIDED | _SUBJECTS if not term.isascii() and term in flat}
