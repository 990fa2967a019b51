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

// The timeline opens notes itself.
const open = reported((event) => event.position !== undefined && !event.note && panel.explain(event));
const changedRange = debounced(150, reported((start, end) => table.inView(start, end)));
const changedCursor = debounced(120, reported((time) => table.near(time)));

// A click holds the events of its time in the table, so that the pointer can move there over other times.
function atCursor(time, { pinned }) {
  if (pinned) reported(() => table.hold(time))();
  else if (!table.isHeld()) changedCursor(time);
}

function keysOf(timeline, extent) {
  const move = (part) => {
    const { start, end } = timeline.view();
    timeline.show(start + part * (end - start), end + part * (end - start));
  };
  const zoom = (factor) => {
    const { start, end } = timeline.view();
    const [middle, half] = [(start + end) / 2, ((end - start) / 2) * factor];
    timeline.show(middle - half, middle + half);
  };
  return {
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    0: () => timeline.show(extent.start, extent.end),
    ArrowLeft: () => move(-0.2),
    ArrowRight: () => move(0.2),
    Escape: () => {
      panel.close();
      table.release();
    },
  };
}

function listen(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    // A dialog closes itself with Esc.
    if (document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, select, textarea") || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

const start = reported(async () => {
  table.open(open);
  let outline = null;
  // The timeline reads the outline; the page uses the same one.
  const kept = { ...source, outline: async () => (outline = await source.outline()) };
  const [from, to] = address.range() ?? [];
  const timeline = window.ehrtraj.timeline(document.getElementById("timeline"), kept, {
    start: from,
    end: to,
    tracks: address.tracks() ?? undefined,
    onCursor: atCursor,
    onRange: (first, last) => {
      address.remember({ start: first, end: last });
      changedRange(first, last);
    },
    onSelect: open,
    onTracks: (codes) => address.remember({ codes }),
  });
  await timeline.ready;
  if (!outline?.extent) return;
  asOf.prepare(outline.extent);
  tracks.prepare(outline.concepts, (code) => timeline.addTrack(code));
  listen(keysOf(timeline, outline.extent));
  const view = timeline.view();
  await table.inView(Math.floor(view.start), Math.ceil(view.end));
});

start();
