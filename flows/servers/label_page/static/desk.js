// One item on the screen: its texts, the choice, the aspects after it, and what a person writes about it.

import { $, announce, ask, element, fill, randomKey, readStored, session, show, writeStored } from "./common.js";
import { ItemClock } from "./item_clock.js";
import { Outbox } from "./outbox.js";

const CHOICES = { left: "Answer 1", right: "Answer 2", tie: "Tie", bad: "Both bad" };
const ROLES = { user: "Person", assistant: "Assistant", system: "Instruction" };
// A key that bounces must not judge an item that nobody has seen yet.
const SETTLE = 150;
const WIDE = matchMedia("(min-width: 1100px)");

export function emptyDraft() {
  return { choice: "", steps: {}, aspect: -1, flag: false, comment: "", better: "", seconds: 0 };
}

export class Desk {
  // `actions` has `finished(item, draft)`, `skipped(item, draft)` and `undo()`; `review`: a reviewer decides.
  constructor(actions, review = false) {
    this.actions = actions;
    this.review = review;
    this.item = null;
    this.draft = emptyDraft();
    this.shownAt = 0;
    this.guides = new Map();
    this.guide = "";
    this.keysOn = readStored("keys", true);
    this.clock = new ItemClock($("clock"));
    this.outbox = new Outbox((outbox) => this.showOutbox(outbox));
    this.connect();
    this.outbox.flush();
  }

  connect() {
    const acts = {
      left: () => this.choose("left"), right: () => this.choose("right"), tie: () => this.choose("tie"),
      bad: () => this.choose("bad"), skip: () => this.skip(), undo: () => this.undo(), flag: () => this.flag(),
      comment: () => this.write("comment"), better: () => this.write("better"),
      "show-guide": () => this.toggleGuide(), help: () => $("keys").showModal(),
    };
    this.keys = new Map();
    for (const [id, act] of Object.entries(acts)) {
      const button = $(id);
      if (!button) continue;
      button.hidden = false;
      button.addEventListener("click", act);
      this.keys.set(button.getAttribute("aria-keyshortcuts"), act);
    }
    for (const step of [1, 2, 3, 4, 5]) $(`step-${step}`).addEventListener("click", () => this.step(step));
    $("back").addEventListener("click", () => this.undo());
    $("guide-close").addEventListener("click", () => this.toggleGuide(false));
    document.addEventListener("keydown", (event) => this.pressed(event));
    for (const kind of ["comment", "better"]) {
      $(`${kind}-text`).addEventListener("input", (event) => {
        this.draft[kind] = event.target.value;
        this.keep();
      });
      $(`${kind}-text`).addEventListener("blur", () => this.draft[kind].trim() || show(`${kind}-box`, false));
    }
    $("keys-on").checked = this.keysOn;
    $("keys-on").addEventListener("change", (event) => {
      this.keysOn = event.target.checked;
      writeStored("keys", this.keysOn);
    });
    addEventListener("pagehide", () => this.keep());
    addEventListener("beforeunload", (event) => this.outbox.unstored.size && event.preventDefault());
    this.placeGuide();
    WIDE.addEventListener("change", () => {
      this.placeGuide();
      if (this.guide) this.showGuide(this.guide);
    });
  }

  placeGuide() {
    // Without room beside the item it covers the item, so there it opens by a key or a press alone.
    show("guide", WIDE.matches && readStored("guide", true));
  }

  pressed(event) {
    const writing = event.target.closest?.("textarea, input");
    if (event.key === "Escape" && writing) {
      writing.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (writing || $("keys").open || (!this.keysOn && event.key !== "?")) return;
    if (event.key === "Escape") {
      if (!$("guide").hidden && !WIDE.matches) this.toggleGuide(false);
      return;
    }
    const key = this.keyOf(event);
    const inAspects = this.item && this.draft.aspect >= 0;
    const act = inAspects && "12345".includes(key) ? () => this.step(Number(key)) : this.keys.get(key);
    if (!act) return;
    event.preventDefault();
    act();
  }

  // The key that a person means: on keyboards of other scripts, or with digits behind Shift, the one at its place.
  keyOf(event) {
    const key = event.key.toLowerCase();
    const place = /^(?:Digit|Key)(.)$/.exec(event.code);
    const foreign = key > "~" || (event.code.startsWith("Digit") && !/\d/.test(key));
    return place && foreign && !event.shiftKey && !this.keys.has(key) ? place[1].toLowerCase() : key;
  }

  // Whether an item is on the screen long enough that a key can mean it.
  ready() {
    return this.item && performance.now() - this.shownAt > SETTLE;
  }

  display(item, draft = null) {
    this.item = item;
    this.draft = { ...emptyDraft(), ...draft };
    this.shownAt = performance.now();
    this.clock.start(this.draft.seconds);
    show("loading", false);
    show("empty", false);
    show("item", true);
    show("actions", true);
    $("history").replaceChildren(...item.history.map((turn) => {
      const text = element("div", { class: "text", dir: "auto" });
      fill(text, turn.text, item.html);
      return element("div", { class: "turn" }, element("p", { class: "role" }, ROLES[turn.role] || turn.role), text);
    }));
    const prompt = element("div", { class: "text", dir: "auto" });
    fill(prompt, item.prompt, item.html);
    $("prompt").replaceChildren(element("p", { class: "role" }, item.history.length ? "Person" : "Prompt"), prompt);
    for (const side of ["left", "right"]) {
      const text = $(`${side}-text`);
      text.dir = "auto";
      fill(text, item[side], item.html);
      text.scrollTop = 0;
    }
    for (const kind of ["comment", "better"]) {
      $(`${kind}-text`).value = this.draft[kind];
      show(`${kind}-box`, Boolean(this.draft[kind]));
    }
    this.showDraft();
    this.showGuide(item.guide);
    scrollTo(0, 0);
    // A button that was clicked keeps the focus; anything else that had it may be gone.
    if (document.activeElement === document.body) $("content").focus({ preventScroll: true });
    announce(`Next item. ${prompt.textContent.slice(0, 200)}`);
  }

  wait() {
    this.item = null;
    for (const id of ["item", "empty", "actions"]) show(id, false);
    show("loading", true);
  }

  // `back`: whether there is a last item to go back to.
  nothing(title, text, back = false) {
    this.item = null;
    this.draft = emptyDraft();
    show("loading", false);
    show("item", false);
    show("actions", false);
    show("empty", true);
    show("back", back);
    $("clock").textContent = "";
    $("empty-title").textContent = title;
    $("empty-text").textContent = text;
    announce(`${title} ${text}`);
  }

  showDraft() {
    const { choice, aspect, flag, steps } = this.draft;
    $("left-card").classList.toggle("chosen", choice === "left" || choice === "tie");
    $("right-card").classList.toggle("chosen", choice === "right" || choice === "tie");
    document.body.classList.toggle("decided", choice !== "");
    for (const name of Object.keys(CHOICES)) $(name).setAttribute("aria-pressed", String(choice === name));
    $("flag")?.setAttribute("aria-pressed", String(flag));
    $("comment").setAttribute("aria-pressed", String(Boolean(this.draft.comment)));
    $("better").setAttribute("aria-pressed", String(Boolean(this.draft.better)));
    show("choices", aspect < 0);
    show("aspect", aspect >= 0);
    if (aspect < 0) return;
    const name = this.item.aspects[aspect];
    const count = this.item.aspects.length;
    $("aspect-title").replaceChildren(
      element("strong", {}, capital(name)), `: which answer is better? `,
      element("span", { class: "hint" }, `${CHOICES[choice]} chosen · aspect ${aspect + 1} of ${count} · s if you cannot say`),
    );
    for (const step of [1, 2, 3, 4, 5]) {
      $(`step-${step}`).setAttribute("aria-pressed", String(steps[name] === step));
    }
  }

  choose(choice) {
    if (!this.ready() || this.draft.aspect >= 0) return;
    this.draft.choice = choice;
    this.submit("judge");
    if (!this.item.aspects.length) {
      this.finish();
      return;
    }
    this.draft.aspect = 0;
    this.draft.steps = {};
    this.showDraft();
    announce(`${CHOICES[choice]}. ${capital(this.item.aspects[0])}: 1 to 5.`);
    this.keep();
  }

  step(step) {
    const name = this.item?.aspects[this.draft.aspect];
    if (!name) return;
    // An assignment to the name __proto__ would store nothing.
    if (step) this.draft.steps = { ...this.draft.steps, [name]: step };
    else delete this.draft.steps[name];
    this.draft.aspect += 1;
    if (this.draft.aspect < this.item.aspects.length) {
      this.showDraft();
      announce(`${capital(this.item.aspects[this.draft.aspect])}: 1 to 5.`);
      this.keep();
      return;
    }
    // The choice alone was sent when its key was pressed; this one replaces it.
    if (Object.keys(this.draft.steps).length) this.submit("judge");
    this.finish();
  }

  finish() {
    const { item, draft } = this;
    this.forget(item);
    // A second key must not judge it again while the next one is on its way.
    this.item = null;
    this.actions.finished(item, draft);
  }

  skip() {
    if (!this.ready()) return;
    if (this.draft.aspect >= 0) {
      this.step(0);
      return;
    }
    const { item, draft } = this;
    if (!this.review) this.submit("skip");
    this.forget(item);
    this.item = null;
    this.actions.skipped(item, draft);
  }

  undo() {
    if (this.item && this.draft.aspect > 0) {
      this.draft.aspect -= 1;
      this.showDraft();
      return;
    }
    if (this.item && this.draft.aspect === 0) {
      this.draft = { ...this.draft, choice: "", steps: {}, aspect: -1 };
      this.submit("undo");
      this.showDraft();
      this.keep();
      return;
    }
    this.actions.undo();
  }

  flag() {
    if (!this.item) return;
    this.draft.flag = !this.draft.flag;
    this.showDraft();
    this.keep();
    announce(this.draft.flag ? "Flagged; it is sent with your choice." : "Not flagged.");
  }

  write(kind) {
    if (!this.item) return;
    show(`${kind}-box`, true);
    $(`${kind}-text`).focus();
    $(`${kind}-box`).scrollIntoView({ block: "nearest" });
  }

  submit(action, item = this.item, draft = this.draft) {
    const judged = action === "judge";
    this.outbox.add({
      key: randomKey(), item: item.item, action, choice: judged ? draft.choice : "",
      steps: judged ? { ...draft.steps } : {}, flag: action !== "undo" && draft.flag,
      comment: action === "undo" ? "" : wellFormed(draft.comment), better: judged ? wellFormed(draft.better) : "",
      swapped: item.swapped, guide: item.guide, digest: item.digest, review: this.review,
      seconds: item === this.item ? this.clock.seconds : draft.seconds,
    });
  }

  // What is not sent yet stays in the browser, so that a reload loses no comment. It is kept under the item's
  // digest: in a restored store, the number may be that of another item.
  keep() {
    if (!this.item) return;
    this.draft.seconds = this.clock.seconds;
    const { choice, flag, comment, better } = this.draft;
    const drafts = this.draftsWithout(this.item);
    if (choice || flag || comment || better) drafts[this.item.digest] = { ...this.draft, item: this.item.item };
    writeStored(this.draftName, drafts);
  }

  forget(item) {
    writeStored(this.draftName, this.draftsWithout(item));
  }

  draftOf(item) {
    const drafts = this.drafts();
    // Pages of an earlier version kept drafts under the number.
    const kept = drafts[item.digest] || drafts[item.item];
    if (!kept || kept.item === item.item) return kept || null;
    // The same texts under another number: what was chosen there says nothing of this batch's aspects.
    return { ...kept, choice: "", steps: {}, aspect: -1 };
  }

  draftsWithout(item) {
    const drafts = this.drafts();
    delete drafts[item.digest];
    delete drafts[item.item];
    return drafts;
  }

  drafts() {
    return readStored(this.draftName, {});
  }

  get draftName() {
    return this.review ? "decisions" : "drafts";
  }

  toggleGuide(open = $("guide").hidden) {
    show("guide", open);
    $("show-guide").setAttribute("aria-expanded", String(open));
    if (WIDE.matches) writeStored("guide", open);
    if (open) {
      this.showGuide(this.guide);
      if (!WIDE.matches) $("guide-text").focus();
    }
  }

  async showGuide(digest) {
    this.guide = digest;
    const seen = readStored("seen-guide", "");
    // A guide that nobody has read yet opens by itself where there is room for it.
    if (digest !== seen && WIDE.matches && $("guide").hidden) show("guide", true);
    $("show-guide").classList.toggle("news", digest !== seen && $("guide").hidden);
    $("show-guide").setAttribute("aria-expanded", String(!$("guide").hidden));
    if ($("guide").hidden || $("guide-text").dataset.digest === digest) return;
    try {
      if (!this.guides.has(digest)) this.guides.set(digest, (await ask(`/api/guides/${digest}`)).html);
    } catch {
      return;
    }
    if (this.guide !== digest) return;
    $("guide-text").innerHTML = this.guides.get(digest);
    $("guide-text").dataset.digest = digest;
    writeStored("seen-guide", digest);
  }

  showOutbox(outbox) {
    const count = outbox.waiting().length;
    const refused = outbox.refused().length;
    let words = "";
    if (count && (outbox.problem || outbox.tries)) words = `${count} not sent yet, kept in this browser`;
    if (count && outbox.unstored.size) words = `${count} not sent yet, and this browser keeps nothing: leave the page open`;
    $("sync").classList.toggle("late", words !== "");
    if (!words && outbox.hasOthers()) words = "Somebody else's judgements wait here until they sign in";
    $("sync").textContent = words;
    document.body.dataset.unsent = count;
    if (outbox.problem === "signed-out") {
      this.notice("You are signed out. What you press is kept in this browser. ", ["Sign in", "/sign-in?next=" + location.pathname]);
    } else if (outbox.problem === "other-person") {
      this.notice("Somebody else signed in on this browser. ", ["Reload the page", location.pathname]);
    } else if (outbox.problem === "cannot-store") {
      const kept = outbox.unstored.size ? "Leave the page open: this browser keeps nothing." : "What you press is kept in this browser and sent later.";
      this.notice(`The server cannot store anything now; tell whoever runs this page. ${kept}`);
    } else if (refused) {
      const one = outbox.refused()[0];
      const kept = outbox.unkept.size ? "kept while this page is open" : "kept in this browser";
      this.notice(`${refused} not accepted by the server (${one.reason}); ${kept}. `, null, ["Forget", () => outbox.forgetRefused()]);
    } else this.notice("");
  }

  notice(text, link = null, button = null) {
    if (this.noticed === text) return;
    this.noticed = text;
    const parts = [text];
    if (link) parts.push(element("a", { href: link[1] }, link[0]));
    if (button) {
      const made = element("button", { type: "button", class: "quiet" }, button[0]);
      made.addEventListener("click", button[1]);
      parts.push(made);
    }
    $("notice").replaceChildren(...parts);
    show("notice", text !== "");
  }
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Half of a surrogate pair, as a broken paste may leave it, is no text that the server can store.
function wellFormed(text) {
  return text.toWellFormed ? text.toWellFormed() : text;
}
