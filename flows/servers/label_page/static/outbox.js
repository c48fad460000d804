// The outbox: judgements that the server has not stored yet. Each is in the browser's storage before it is
// sent, under a name of its own, so that several tabs cannot overwrite each other's. It leaves the storage only
// when the server says that it is on its disk. The server stores each key once, however often it is sent.

import { Refused, ask, namesStored, readItem, session } from "./common.js";

const KIND = `chatmill.${session.site}.outbox.`;
const MINE = `${KIND}${encodeURIComponent(session.person)}/`;
const REFUSED = `chatmill.${session.site}.refused.${encodeURIComponent(session.person)}/`;
const MOST = 20;
const LONGEST = 1500000;
const WAITS = [500, 1000, 2000, 5000, 10000, 20000, 30000];

let counter = 0;

export class Outbox {
  // `onChange(state)` is called with the outbox after each change.
  constructor(onChange) {
    this.onChange = onChange;
    this.unstored = new Map(); // what the browser's storage has no room for
    this.unkept = new Map(); // what was refused and the storage has no room for: not sent again before a reload
    this.problem = ""; // "", "away", "cannot-store", "signed-out" or "other-person"
    this.reason = "";
    this.tries = 0;
    this.most = MOST;
    this.sending = false;
    this.timer = 0;
    addEventListener("online", () => this.retry());
    addEventListener("focus", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
  }

  // The judgements of this person that wait, the oldest first, as [name, judgement].
  waiting() {
    const found = new Map([...this.unstored].filter(([name]) => !this.unkept.has(name)));
    for (const name of namesStored(MINE)) {
      const entry = parse(readItem(name));
      if (entry && !this.unkept.has(name)) found.set(name, entry);
    }
    return [...found].sort(([one], [other]) => (one < other ? -1 : 1));
  }

  // Judgements in this browser that were refused for good; they are never removed without a click.
  refused() {
    return namesStored(REFUSED).map((name) => parse(readItem(name)))
      .filter(Boolean).concat([...this.unkept.values()]);
  }

  forgetRefused() {
    namesStored(REFUSED).forEach((name) => this.remove(name));
    for (const name of this.unkept.keys()) this.remove(name);
    this.unkept.clear();
    this.onChange(this);
  }

  // Whether judgements of other people wait in this browser. They are sent when those sign in.
  hasOthers() {
    return namesStored(KIND).some((name) => !name.startsWith(MINE));
  }

  add(judgement) {
    counter += 1;
    // Sorted by name they are in order: the time, then the number within this page.
    const order = `${String(Date.now()).padStart(15, "0")}.${String(counter).padStart(6, "0")}`;
    const name = `${MINE}${order}.${judgement.key}`;
    try {
      localStorage.setItem(name, JSON.stringify(judgement));
    } catch {
      this.unstored.set(name, judgement);
    }
    this.onChange(this);
    this.flush();
  }

  retry() {
    if (this.problem === "other-person") return;
    clearTimeout(this.timer);
    this.timer = 0;
    this.flush();
  }

  async flush() {
    if (this.sending || this.timer) return;
    this.sending = true;
    try {
      for (let batch = this.next(); batch.length; batch = this.next()) {
        await this.send(batch);
        this.onChange(this);
      }
      this.settle("", "");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const problem = { 401: "signed-out", 409: "other-person", 503: "cannot-store" }[error.status] || "away";
      this.settle(problem, error.message);
      this.timer = setTimeout(() => {
        this.timer = 0;
        this.flush();
      }, WAITS[Math.min(this.tries, WAITS.length - 1)] * (0.75 + Math.random() / 2));
      this.tries += 1;
      if (problem === "other-person") clearTimeout(this.timer);
    } finally {
      this.sending = false;
    }
    this.onChange(this);
  }

  settle(problem, reason) {
    this.problem = problem;
    this.reason = reason;
    if (!problem) this.tries = 0;
  }

  next() {
    const found = [];
    let length = 0;
    for (const entry of this.waiting()) {
      length += JSON.stringify(entry[1]).length;
      if (found.length && (found.length >= this.most || length > LONGEST)) break;
      found.push(entry);
    }
    return found;
  }

  async send(batch) {
    try {
      const judgements = batch.map(([, judgement]) => judgement);
      const answer = await ask("/api/judgements", { person: session.person, judgements });
      const stored = new Set(answer.stored);
      batch.filter(([, judgement]) => stored.has(judgement.key)).forEach(([name]) => this.remove(name));
      this.settle("", "");
      this.most = MOST;
    } catch (error) {
      // One judgement that is not valid must not hold up the others.
      if (![404, 413, 422].includes(error.status)) throw error;
      if (batch.length > 1) this.most = 1;
      else this.refuse(batch[0], error);
    }
  }

  refuse([name, judgement], error) {
    const refused = { judgement, reason: error.message };
    this.reason = error.message;
    try {
      localStorage.setItem(`${REFUSED}${judgement.key}`, JSON.stringify(refused));
      this.remove(name);
    } catch {
      // It stays where it is. Sending it again at once would hold up all that follow.
      this.unkept.set(name, refused);
    }
  }

  remove(name) {
    this.unstored.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // A browser that forbids the storage has nothing there.
    }
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
