// The table of events: those under the cursor, or all in view.

import { element } from "./dom.js";
import { source } from "./source.js";
import { readable } from "./times.js";

const LIMIT = 200;
const LONGEST = 160;
const body = document.querySelector("#events tbody");
const range = document.getElementById("events-range");
const [before, after, all] = ["events-before", "events-after", "events-all"].map((id) => document.getElementById(id));

let shown = { start: 0, end: 0, offset: 0 };
let view = null;
let latest = 0;
let held = false;
let onOpen = () => {};

function row(event) {
  const what = element("button", { type: "button", className: "plain", textContent: event.description || event.code });
  what.addEventListener("click", () => onOpen(event));
  const value = event.value ?? "";
  return element(
    "tr",
    {},
    element("td", { textContent: readable(event.time) || "always" }),
    element("td", { textContent: event.available_time === event.time ? "" : readable(event.available_time) }),
    element("td", { title: event.code }, what),
    element("td", { textContent: value.length > LONGEST ? `${value.slice(0, LONGEST)} ...` : value }),
    element("td", { className: "muted", textContent: (event.flags ?? []).join(", ") }),
  );
}

function count(total, offset, shown) {
  if (!total) return "no events";
  if (total > LIMIT) return `${offset + 1} to ${offset + shown} of ${total.toLocaleString("en")}`;
  return total === 1 ? "1 event" : `${total} events`;
}

async function load() {
  // Answers can arrive in another order than the questions.
  const mine = ++latest;
  const { start, end, offset } = shown;
  const found = await source.events({ start, end, offset, limit: LIMIT });
  if (mine !== latest) return;
  const events = found.rows;
  body.replaceChildren(...events.map(row));
  range.textContent = `${readable(start)} to ${readable(end)}: ${count(found.total, offset, events.length)}`;
  before.disabled = offset === 0;
  after.disabled = offset + events.length >= found.total;
}

export const table = {
  open(action) {
    onOpen = action;
  },
  async inView(start, end) {
    view = [start, end];
    held = false;
    all.hidden = true;
    shown = { start, end, offset: 0 };
    await load();
  },
  isHeld() {
    return held;
  },
  async hold(time) {
    held = true;
    await table.near(time, true);
  },
  release() {
    if (held && view) table.inView(...view);
  },
  async near(time, asked = false) {
    // A late answer to the pointer does not replace what a click holds.
    if (!view || (held && !asked)) return;
    // A hundredth of the view, but at least a quarter of an hour.
    const half = Math.max(450, (view[1] - view[0]) / 200);
    all.hidden = false;
    shown = { start: Math.round(time - half), end: Math.round(time + half), offset: 0 };
    await load();
  },
};

before.addEventListener("click", () => {
  shown.offset = Math.max(0, shown.offset - LIMIT);
  load();
});
after.addEventListener("click", () => {
  shown.offset += LIMIT;
  load();
});
all.addEventListener("click", () => table.inView(...view));
