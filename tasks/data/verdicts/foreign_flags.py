"""List names of flags in other languages which say that a row may, or may not, be used."""

from __future__ import annotations

from tasks.data.values.field_meanings import plain_word, with_feminine, word_set


def _forms(words: str) -> frozenset[str]:
    # Column names are often written without their accents.
    every = with_feminine(word_set(words))
    return every | frozenset(map(plain_word, every))


# True excludes the row.
FOREIGN_BAD_FLAGS = _forms(
    """
    abgebrochen abgelaufen abgelehnt anstößig beleidigend beschwerde defekt doppelt durchgestrichen entwurf
    eskaliert fehlerhaft gekürzt gesperrt privat sensibel storniert strittig toxisch überholt ungeklärt
    unvollständig veraltet versteckt vertraulich verworfen zurückgenommen zurückgezogen
    annulé bloqué brouillon confidentiel doublon erroné incomplet incorrect incorrecte masqué obsolète plainte
    périmé refusé rejeté retiré révoqué supprimé suspendu suspendue toxique
    anulado bloqueado borrador caducado eliminado cancelado confidencial desactualizado descartado duplicado
    erróneo incompleto incorrecto inválido obsoleto oculto queja rechazado reemplazado retirado revocado
    suspendido tóxico vencido
    annullato bloccato bozza cancellato duplicato eliminato errato incompleto invalido nascosto reclamo
    respinto revocato rifiutato riservato ritirato sbagliato scaduto scartato sospeso superato tossico
    desatualizado desconsiderar desconsiderado errado excluído incorreto minuta rascunho reaberto reclamação
    recusado rejeitado revogado substituído suspenso
    dubbel geannuleerd geblokkeerd ingetrokken klacht onvolledig verborgen verlopen verouderd vertrouwelijk
    черновик устарело 草稿 重复 重複 下書き 초안
    """
)
# False excludes the row.
FOREIGN_GOOD_FLAGS = _forms(
    """
    abgeschlossen aktiv druckreif einverstanden endfassung endgültig endgültige endgueltig endversion erlaubt
    erledigt fertig geeignet gelöst gültig veröffentlicht vollständig zufrieden
    actif adapté approuvé autorisé complet complète définitif définitive finale publié résolu résolue
    satisfait terminé valide validé
    activo apto aprobado completo definitivo permitido publicado resuelto satisfecho terminado validado válido
    approvato attivo adatto consentito pubblicato risolto soddisfatto valido validato
    aprovado ativo concluído homologado resolvido verificado
    definitief definitieve eindversie geldig gepubliceerd geschikt opgelost slutversion toegestaan volledig
    окончательно 最終版 完成 公开 公開 완료
    """
)
