// The page of one patient: it connects the timeline with the address, the table, the panel and the keys.

import * as address from "./address.js";
import * as asOf from "./as_of.js";
import { debounced } from "./dom.js";
import { table } from "./events.js";
import * as panel from "./panel.js";
import { source } from "./source.js";
import * as tracks from "./tracks.js";

const status = document.getElementById("status");

// Errors are shown where they happen; nothing is written to the console.
function reported(action) {
  return async (...given) => {
    try {
      status.textContent = "";
      return await action(...given);
    } catch (error) {
      status.textContent = error.message;
    }
  };
}

const open = reported((event) => (event.note ? panel.note(event.position) : panel.explain(event)));
const changedRange = debounced(200, reported((start, end) => table.inView(start, end)));
const changedCursor = debounced(120, reported((time) => table.near(time)));

function keysOf(timeline, extent, current) {
  const move = (part) => {
    const [start, end] = current();
    timeline.show(start + part * (end - start), end + part * (end - start));
  };
  const zoom = (factor) => {
    const [start, end] = current();
    const middle = (start + end) / 2;
    const half = Math.max(60, ((end - start) / 2) * factor);
    timeline.show(middle - half, middle + half);
  };
  return {
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    0: () => timeline.show(extent.start, extent.end),
    ArrowLeft: () => move(-0.25),
    ArrowRight: () => move(0.25),
    Escape: () => panel.close(),
  };
}

const start = reported(async () => {
  table.open(open);
  // The timeline asks for the same outline: the second answer is quick, because the server keeps the patient.
  const outline = await source.outline();
  const extent = outline.extent;
  asOf.prepare(extent);
  let shown = address.range() ?? [extent.start, extent.end];
  if (shown[0] === null) {
    status.textContent = "No event with a time is known.";
    return;
  }
  let ready = false;
  const options = {
    onCursor: (time) => time !== null && time !== undefined && changedCursor(time),
    onRange: (from, to) => {
      shown = [from, to];
      if (ready) address.remember({ start: Math.round(from), end: Math.round(to) });
      changedRange(Math.floor(from), Math.ceil(to));
    },
    onSelect: open,
  };
  changedRange(...shown);
  const timeline = await window.ehrtraj.timeline(document.getElementById("timeline"), source, options);
  const wanted = address.tracks();
  if (wanted) {
    for (const code of timeline.tracks()) if (!wanted.includes(code)) timeline.removeTrack(code);
    for (const code of wanted) if (!timeline.tracks().includes(code)) await timeline.addTrack(code);
  }
  if (address.range()) timeline.show(...shown);
  ready = true;
  tracks.prepare(outline.concepts ?? [], reported(async (code) => {
    await timeline.addTrack(code);
    address.remember({ codes: timeline.tracks() });
  }));
  const keys = keysOf(timeline, extent, () => shown);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey && event.key !== "+") return;
    if (event.target.matches("input, select, textarea") || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
});

start();
