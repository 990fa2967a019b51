// The panel at the side: what an event comes from, or the text of a note.

import { element } from "./dom.js";
import { source } from "./source.js";

const panel = document.getElementById("panel");
const title = document.getElementById("panel-title");
const content = document.getElementById("panel-content");
let opener = null;

function show(heading, ...parts) {
  if (panel.hidden) opener = document.activeElement;
  title.textContent = heading;
  content.replaceChildren(...parts);
  panel.hidden = false;
  panel.scrollTop = 0;
  title.focus();
}

export function close() {
  if (panel.hidden) return false;
  panel.hidden = true;
  opener?.focus();
  return true;
}

function pairs(listed) {
  const list = element("dl", { className: "facts" });
  for (const [name, value] of listed) {
    const long = value.includes("\n") || value.length > 300;
    let shown = long ? element("pre", { className: "note", textContent: value }) : value;
    if (name === "code") shown = element("a", { href: `/code?code=${encodeURIComponent(value)}`, textContent: value });
    list.append(element("dt", { textContent: name }), element("dd", {}, shown));
  }
  return list;
}

const heading = (text) => element("h3", { textContent: text });
const paragraph = (text, className = "") => element("p", { textContent: text, className });

function flags(found) {
  if (!found.flags.length) return [];
  return [
    heading("Flags"),
    ...found.flags.flatMap((flag) => [paragraph(`${flag.flag}: ${flag.meaning}`), paragraph(flag.source, "source")]),
  ];
}

function rules(found) {
  return found.rules.flatMap((table) => [heading(`Rule in ${table.table}`), ...table.lines.map(pairs)]);
}

function rows(origin) {
  if (!origin.rows.length) return [paragraph(`No row in ${origin.file} matches.`)];
  const equal = origin.rows.length > 1 ? [paragraph("These rows match equally well.", "muted")] : [];
  return [...equal, ...origin.rows.map(pairs)];
}

function place(event, origin) {
  const box = element("div");
  const search = async () => {
    box.replaceChildren(paragraph(`Searching ${origin.file} (${origin.size}) ...`, "muted"));
    try {
      box.replaceChildren(...rows((await source.explain(event, true)).source));
    } catch (error) {
      box.replaceChildren(paragraph(error.message));
    }
  };
  if (origin.state === "hidden") {
    box.append(paragraph("A row can contain what was recorded later. Show everything to see it.", "muted"));
  } else if (origin.state === "missing") {
    box.append(paragraph("The release is no longer where it was when the dataset was built.", "muted"));
  } else if (origin.state === "small") {
    search();
  } else {
    const button = element("button", { type: "button", textContent: `Search ${origin.file} (${origin.size})` });
    button.addEventListener("click", search);
    box.append(paragraph("The search can take minutes.", "muted"), button);
  }
  return box;
}

export async function explain(event) {
  const found = await source.explain(event);
  show(
    found.description ?? event.code ?? "Event",
    heading("Event"),
    pairs(found.event),
    ...flags(found),
    ...rules(found),
    heading("Row of the source"),
    place(event, found.source),
  );
}

document.getElementById("panel-close").addEventListener("click", close);
