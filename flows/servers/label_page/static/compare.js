// The page Compare: the queue of items, fetched ahead, and the way back.

import { $, ask, readStored, writeStored } from "./common.js";
import { Desk, emptyDraft } from "./desk.js";

// The item on the screen and two more, so that the next one is there when a key is pressed.
const AHEAD = 3;
const BACK = 50;
// The server counts anew from time to time, as others judge too.
const COUNT_EVERY = 10;
const LOOK_AGAIN = 60000;

const queue = [];
const done = [];
let fetching = false;
let tries = 0;
let progress = null;
let sinceCount = COUNT_EVERY;

const desk = new Desk({
  finished(item, draft) {
    note(1, 0);
    leave(item, draft);
  },
  skipped(item, draft) {
    note(0, 1);
    leave(item, draft);
  },
  undo,
});

function note(judged, skipped) {
  if (!progress) return;
  progress.judged += judged;
  progress.today += judged;
  progress.skipped += skipped;
  progress.left -= judged + skipped;
  showProgress();
}

function leave(item, draft) {
  done.push({ item, draft, skipped: draft.choice === "" });
  if (done.length > BACK) done.shift();
  writeStored("done", done.map((each) => [each.item.item, each.item.digest]));
  queue.shift();
  proceed();
}

function proceed() {
  if (queue.length) desk.display(queue[0], desk.draftOf(queue[0]));
  else desk.wait();
  refill();
}

async function undo() {
  let last = done.pop();
  if (!last) {
    // After a reload only the numbers and digests of the last items are known.
    const kept = doneBefore().pop();
    if (!kept) {
      desk.notice("There is nothing to undo.");
      return;
    }
    let item;
    try {
      item = await ask(`/api/items/${kept[0]}`);
    } catch {
      desk.notice("The last item cannot be fetched now; try again in a moment.");
      return;
    }
    if (item.digest !== kept[1]) {
      writeStored("done", []);
      desk.notice("There is nothing to undo: the server's items are others since it was restored.");
      return;
    }
    last = { item, draft: emptyDraft(), skipped: false };
  }
  desk.notice("");
  writeStored("done", doneBefore().filter(([number]) => number !== last.item.item));
  desk.keep();
  note(last.skipped ? 0 : -1, last.skipped ? -1 : 0);
  desk.submit("undo", last.item, last.draft);
  const at = queue.findIndex((item) => item.item === last.item.item);
  if (at >= 0) queue.splice(at, 1);
  queue.unshift(last.item);
  desk.display(last.item, { ...last.draft, choice: "", steps: {}, aspect: -1 });
}

// The last items of earlier visits, as [number, digest]. A page of an earlier version kept no digests.
function doneBefore() {
  return readStored("done", []).filter(Array.isArray);
}

async function refill() {
  if (fetching || queue.length >= AHEAD) return;
  fetching = true;
  const counts = sinceCount >= COUNT_EVERY;
  // The server does not know yet that items in the outbox are judged.
  const unsent = desk.outbox.waiting().map(([, judgement]) => judgement.item);
  const without = [...new Set([...queue.map((item) => item.item), ...unsent])].slice(-500);
  try {
    const found = await ask("/api/next", {
      count: AHEAD - queue.length, without, since: counts ? startOfDay() : "",
    });
    tries = 0;
    const known = new Set(queue.map((item) => item.item));
    queue.push(...found.items.filter((item) => !known.has(item.item)));
    sinceCount = found.progress ? 0 : sinceCount + 1;
    if (found.progress && !desk.outbox.waiting().length) progress = found.progress;
    showProgress();
    if (desk.outbox.problem === "cannot-store") desk.outbox.retry();
    if (!desk.item && queue.length) desk.display(queue[0], desk.draftOf(queue[0]));
    if (!queue.length) nothingLeft();
  } catch (error) {
    if (error.status === 401) desk.outbox.settle("signed-out", error.message);
    if (error.status === 409) desk.outbox.settle("other-person", error.message);
    if (error.status === 503) desk.outbox.settle("cannot-store", error.message);
    if (!desk.item && !queue.length && error.status !== 401) {
      const said = error.status === 503 ? "The server cannot store anything now." : "The server does not answer.";
      desk.nothing(said, "The page goes on by itself when it is back. What you pressed is kept.");
    }
    desk.showOutbox(desk.outbox);
    tries += 1;
    setTimeout(refill, Math.min(30000, 500 * 2 ** tries));
  } finally {
    fetching = false;
  }
}

function nothingLeft() {
  if (desk.outbox.waiting().length) {
    // What was just judged is on its way; afterwards the server may have more.
    setTimeout(refill, 500);
    return;
  }
  sinceCount = COUNT_EVERY;
  desk.nothing(
    progress?.judged || progress?.skipped ? "Nothing left for you. Thank you!" : "Nothing to judge yet.",
    "When new items come, they appear here by themselves. Items on which people disagree go to a reviewer, "
      + "and the judgements train the next model.",
    done.length > 0 || doneBefore().length > 0,
  );
  setTimeout(() => desk.item || refill(), LOOK_AGAIN);
}

function showProgress() {
  if (!progress) return;
  const left = Math.max(0, progress.left);
  $("progress").textContent = `${progress.judged} judged · ${progress.today} today · ${left} left`;
}

function startOfDay() {
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  return day.toISOString();
}

async function begin() {
  // An item whose aspects or comment were begun comes first.
  for (const [name, draft] of Object.entries(desk.drafts())) {
    try {
      const found = await ask(`/api/items/${draft.item ?? name}`);
      if (draft.item && found.digest !== name) continue;
      queue.push(found);
      proceed();
      return;
    } catch {
      // It stays kept; the other items come first.
    }
  }
  refill();
}

$("again").addEventListener("click", refill);
begin();
