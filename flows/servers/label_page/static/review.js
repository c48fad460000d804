// The page Review: items on which people disagree or that they flagged, for a reviewer to decide.

import { $, ask, element, fill } from "./common.js";
import { Desk } from "./desk.js";

const WORDS = { left: "Answer 1", right: "Answer 2", tie: "Tie", bad: "Both bad", "": "Skipped" };
const STEPS = ["", "Answer 1, clearly", "Answer 1, slightly", "equal", "Answer 2, slightly", "Answer 2, clearly"];
const WAIT = 3000;
const SLOW = 300;

let next = null; // the next item, fetched while this one is on the screen
let last = null;
let at = 0; // the item on the screen, after which the next one is wanted
let left = 0;
let decided = new Set();

const desk = new Desk({
  finished(item, draft) {
    last = { item, draft };
    decided.add(item.item);
    proceed();
  },
  skipped(item, draft) {
    last = { item, draft, skipped: true };
    left += 1;
    proceed();
  },
  undo() {
    if (!last) {
      desk.notice("There is nothing to undo.");
      return;
    }
    desk.notice("");
    if (last.skipped) left -= 1;
    else desk.submit("undo", last.item, last.draft);
    decided.delete(last.item.item);
    display(last.item, { ...last.draft, choice: "", steps: {}, aspect: -1 });
    last = null;
  },
}, true);

async function fetchAfter(number) {
  for (let after = number; ; ) {
    // Decisions that are still on their way are not in the store, so that it counts their items as waiting.
    const stored = decided.size - desk.outbox.waiting().length;
    const { item } = await ask("/api/review/next", { after });
    if (!item) return null;
    if (!decided.has(item.item)) return { ...item, total: item.waiting + stored };
    after = item.item;
  }
}

async function proceed() {
  const waiting = next || fetchAfter(at);
  next = null;
  const slow = setTimeout(() => desk.wait(), SLOW);
  try {
    const item = await waiting;
    if (item) display(item, desk.draftOf(item));
    else {
      showCount(left);
      $("progress").textContent = "";
      desk.nothing(
        left ? `${left} left undecided.` : "Nothing to review.",
        left ? "Look again to see them once more." : "Items on which people disagree, and flagged ones, appear here.",
        last !== null,
      );
    }
  } catch (error) {
    if (error.status === 401) {
      desk.outbox.settle("signed-out", error.message);
      desk.showOutbox(desk.outbox);
    }
    setTimeout(proceed, WAIT);
  } finally {
    clearTimeout(slow);
  }
}

function display(item, draft) {
  at = item.item;
  desk.display(item, draft);
  showCount(Math.max(1, item.total - decided.size));
  $("said").hidden = false;
  $("said-list").replaceChildren(...item.judgements.map(judgement));
  next = fetchAfter(item.item);
  next.catch(() => { next = null; });
}

// The items that wait, on the page and beside its name in the list of pages.
function showCount(count) {
  $("progress").textContent = `${count} waiting`;
  const badge = document.querySelector("nav .count");
  if (!badge) return;
  badge.textContent = count;
  badge.setAttribute("aria-label", `${count} waiting`);
  badge.hidden = !count;
}

function judgement(said) {
  const made = element("li", {}, element("p", {},
    element("strong", {}, element("bdi", {}, said.person)), " ",
    element("span", { class: `choice-${said.choice || "none"}` }, WORDS[said.choice]),
    said.flag ? element("span", { class: "flagged" }, "flagged") : "",
  ));
  for (const [aspect, step] of Object.entries(said.steps)) {
    made.append(element("p", { class: "hint" }, `${aspect}: ${STEPS[step]}`));
  }
  for (const [name, text] of [["Comment", said.comment], ["A better answer", said.better]]) {
    if (!text) continue;
    const body = element("p", { dir: "auto", class: "plain" });
    fill(body, text, false);
    made.append(element("p", { class: "hint" }, name), body);
  }
  return made;
}

$("again").addEventListener("click", () => {
  left = 0;
  decided = new Set();
  at = 0;
  proceed();
});
proceed();
