"""The page that a login link opens, with a policy that allows only its own script."""

from __future__ import annotations

import json
import secrets

_SCRIPT = """
const code = location.hash.slice(1);
// Neither the history nor a bookmark keeps the link.
history.replaceState(null, "", location.pathname);
const say = text => { document.querySelector("#says").textContent = text; };
const pages = PAGES;
const shows = {Prefect: ["runs and logs", ""], MLflow: ["figures and models", "#/experiments"]};
const address = port => location.protocol + "//" + location.hostname + ":" + port + "/";

// The browser keeps the user and password of such a request as if it had asked a person for them.
const keep = session => new Promise((done, failed) => {
  const request = new XMLHttpRequest();
  request.open("GET", "/chatmill-session", true, session.user, session.password);
  request.onload = () => request.status === 200 ? done() : failed();
  request.onerror = failed;
  request.send();
});

const logIn = async () => {
  const answer = await fetch("/chatmill-login", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({code: code}),
  });
  if (answer.status === 403) {
    say("This link was used already, or it is too old. " +
        "Type `chatmill up` in the project's folder: it prints a new one.");
    return;
  }
  const session = await answer.json();
  if (session.stored) {
    // Prefect's page reads the user and password that it was given from here.
    localStorage.setItem("prefect-password", btoa(session.user + ":" + session.password));
  } else {
    // MLflow opens its pages about agents, with its assistant beside them, until a person chooses others.
    for (const [key, value] of [
      ["mlflow.workflowType_v1", '"machine_learning"'],
      ["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"],
    ]) if (localStorage.getItem(key) === null) localStorage.setItem(key, value);
    await keep(session);
  }
  if (session.next) {
    location.replace(session.next);
    return;
  }
  say("You are logged in.");
  for (const [name, port] of pages) {
    const link = document.createElement("a");
    const [says, part] = shows[name];
    link.href = address(port) + part;
    link.textContent = name + ": " + says;
    document.querySelector("#pages").append(link);
  }
};

if (code) {
  logIn().catch(() => say("The login failed. Type `chatmill up` in the project's folder for a new link, or " +
    "type the user and password: chatmill's docs/unattended.md says where they are."));
} else {
  say("Type `chatmill up` in the project's folder: it prints a login link.");
}
"""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem; }
a { display: inline-block; margin: 0 .75rem .75rem 0; padding: .5rem 1rem; border: 1px solid;
    border-radius: 6px; color: inherit; text-decoration: none; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } }
"""


def login_page(pages: tuple[tuple[str, int], ...]) -> tuple[str, str]:
    """Return the page and its Content-Security-Policy; `pages` has the name and port of each server."""
    # A new nonce for each page: only this page's script runs, whatever else gets into it.
    nonce = secrets.token_urlsafe(16)
    # Replaced, not formatted: the script is full of braces.
    script = _SCRIPT.replace("PAGES", json.dumps(pages), 1)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>chatmill: log in</title>'
        f'<meta name="viewport" content="width=device-width"><style nonce="{nonce}">{_STYLE}</style></head>'
        '<body><h1>chatmill</h1><p id="says">Logging in …</p><p id="pages"></p>'
        f'<noscript>This page needs JavaScript.</noscript><script nonce="{nonce}">{script}</script>'
        "</body></html>"
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy
