"""Recognize the speaker of a turn by the name of its role, in several languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.common.names import yaml_text
from tasks.data.values.field_meanings import plain_word, word_set

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
SPEAKERS = ("user", "assistant", "system")
_USER = """
    user human prompter asker caller client customer end_user enduser guest me person question
    user_message visitor anwender anwenderin benutzer benutzerin frage gast ich kunde kundin mensch
    nutzer nutzerin cliente clienta humain utilisateur utilisatrice humano persona usuario usuaria
    pregunta usuário usuária pergunta utente umano domanda gebruiker klant mens vraag användare kund
    människa fråga bruger bruker käyttäjä asiakas użytkownik klient klientka człowiek uživatel zákazník
    používateľ felhasználó kullanıcı müşteri utilizator пользователь клиент человек користувач клієнт
    χρήστης 用户 用戶 人类 人類 客户 客戶 使用者 提问 ユーザー
    人間 顧客 사용자 인간 고객 مستخدم المستخدم משתמש
    उपयोगकर्ता người_dùng
    ผู้ใช้ pengguna
"""
_ASSISTANT = """
    assistant gpt chatgpt bot model bing bard ai ai_assistant agent answer chat_bot chatbot claude
    completion copilot deepseek gemini gpt_3.5 gpt_4 gpt_4o helper language_model llama llm machine
    mistral output qwen response robot support assistant_message antwort assistent assistentin berater
    beraterin ki modell kundendienst mitarbeiter sprachmodell assistante conseiller conseillère ia modèle
    réponse robot_ia asistente modelo respuesta soporte assistente resposta atendente modello risposta
    antwoord medewerker svar assistentti asystent asystentka odpowiedź asistent odpoveď odpověď
    asszisztens yardımcı yapay_zeka ассистент бот ии модель ответ помощник асистент помічник відповідь
    βοηθός 助手 助理 机器人 機器人 模型 人工智能 回答 アシスタント
    ボット モデル 어시스턴트 챗봇 모델 مساعد المساعد
    עוזר सहायक trợ_lý ผู้ช่วย
    asisten
"""
_SYSTEM = """
    system developer system_message system_prompt sistema système systeem systemanweisung система 系统 系統
    システム 시스템 النظام sistem
"""
_TOOLS = word_set(
    """
    code_interpreter environment function function_call function_response functions ipython observation tool
    tool_call tool_output tool_response tool_result tools
    """
)
ROLES: dict[str, str] = {
    plain_word(word): role
    for role, words in zip(SPEAKERS, (_USER, _ASSISTANT, _SYSTEM), strict=True)
    for word in words.split()
}


def speaker_of(turn: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the key of a turn's role, and its value; the first key without a role."""
    return next(((key, turn[key]) for key in ROLE_KEYS if turn.get(key)), (ROLE_KEYS[0], None))


def role_of(turn: Mapping[str, Any]) -> str | None:
    """Return user, assistant or system for a turn; None for an unknown role, or none."""
    name = speaker_of(turn)[1]
    return ROLES.get(plain_word(name.rstrip(": "))) if isinstance(name, str) else None


def is_tool(name: str) -> bool:
    """Return whether a role is that of a tool, whose turns cannot be learned."""
    return plain_word(name) in _TOOLS


def propose_roles(turns: Sequence[object]) -> str:
    """Return the roles of a conversation's unknown speakers for a preset, as `Ann: user, Bob: assistant`.

    The first who speaks asks, the second answers. If the conversation names its user, they all answer.
    """
    known = {role_of(turn) for turn in turns if isinstance(turn, Mapping)}
    names = list(dict.fromkeys(name for turn in turns if (name := _unknown_speaker(turn))))
    roles = ["assistant"] * len(names)
    if "user" not in known:
        roles = ["assistant" if number == 1 else "user" for number in range(len(names))]
    return ", ".join(f"{yaml_text(name)}: {role}" for name, role in zip(names, roles, strict=True))


def _unknown_speaker(turn: object) -> str:
    if not isinstance(turn, Mapping) or role_of(turn) is not None:
        return ""
    name = speaker_of(turn)[1]
    return name.strip() if isinstance(name, str) and not is_tool(name) else ""
