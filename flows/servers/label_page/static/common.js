// What the pages share: the session, requests, and small helpers for elements.

export const session = { ...document.body.dataset };
export const $ = (id) => document.getElementById(id);

// An answer of the server with an error; `status` 0: there was no answer.
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function request(path, body, limit) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), limit);
  try {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await fetch(path, {
      method: text === undefined ? "GET" : "POST",
      headers: {
        ...(text === undefined ? {} : { "Content-Type": "application/json" }),
        ...(session.token ? { "X-Chatmill-Token": session.token } : {}),
      },
      body: text,
      signal: stop.signal,
      // Sent even if the page is closed at once; browsers refuse this for long bodies.
      keepalive: text !== undefined && text.length < 15000,
    });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(answer.status, String(found.detail || `status ${answer.status}`));
    return found;
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0, "the server does not answer");
  } finally {
    clearTimeout(timer);
  }
}

// Ask the server. A sign-in in another tab gives a new token: it is fetched once, if the person is the same.
export async function ask(path, body, limit = 20000) {
  try {
    return await request(path, body, limit);
  } catch (error) {
    if (error.status !== 403 || !session.person || body === undefined) throw error;
    const now = await request("/api/session", undefined, limit);
    if (!now.person) throw new Refused(401, "your session has ended");
    if (now.person !== session.person) throw new Refused(409, "another person signed in");
    if (now.token === session.token) throw error;
    session.token = now.token;
    return request(path, body, limit);
  }
}

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function show(id, visible) {
  $(id).hidden = !visible;
}

// `html` is text that the server made from Markdown, without raw HTML. All other text is text.
export function fill(target, text, html) {
  target.classList.toggle("markdown", html);
  target.classList.toggle("plain", !html);
  if (html) target.innerHTML = text;
  else target.textContent = text;
}

export function announce(text) {
  $("announce").textContent = text;
}

// Names of what this page keeps in the browser: a project and a person have their own.
export const storageName = (kind) => `chatmill.${session.site}.${kind}.${encodeURIComponent(session.person)}`;

// What this page kept under an earlier name, as before its session key was replaced, is found again.
if (session.former) {
  const [former, now] = [session.former, session.site].map((site) => `chatmill.${site}.`);
  for (const name of namesStored(former)) {
    const moved = now + name.slice(former.length);
    try {
      if (localStorage.getItem(moved) !== null) continue;
      localStorage.setItem(moved, localStorage.getItem(name));
      localStorage.removeItem(name);
    } catch {
      // There is no room for a second copy; it stays for the next visit.
    }
  }
}

// The names in the browser's storage that begin so; none if the browser forbids the storage.
export function namesStored(beginning) {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(beginning));
  } catch {
    return [];
  }
}

export function readItem(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function readStored(kind, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(storageName(kind))) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function writeStored(kind, value) {
  try {
    localStorage.setItem(storageName(kind), JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

// `crypto.randomUUID` needs TLS or this machine; a page in the local network may have neither.
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
