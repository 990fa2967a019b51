// The box that adds a track: it searches the codes and the concepts of this patient.

import { debounced, element } from "./dom.js";
import { source } from "./source.js";

const field = document.getElementById("track-search");
const list = document.getElementById("track-choices");
let choices = [];
let chosen = -1;

function close() {
  list.hidden = true;
  chosen = -1;
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
}

function mark(next) {
  chosen = Math.min(Math.max(next, 0), choices.length - 1);
  [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
  const item = list.children[chosen];
  if (item) {
    field.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  }
}

// The columns of concepts are tracks too.
function ofConcepts(concepts, words) {
  return concepts
    .flatMap((concept) =>
      concept.columns.map(({ code, label, meaning, n }) => ({ code, n, description: `${label}, ${meaning}` })),
    )
    .filter((one) => words.every((word) => `${one.code} ${one.description}`.toLowerCase().includes(word)));
}

export function prepare(concepts, onAdd) {
  function add(choice) {
    field.value = "";
    close();
    onAdd(choice.code);
  }

  const search = debounced(120, async () => {
    const q = field.value.trim();
    if (!q) return close();
    const found = await source.codes(q);
    if (field.value.trim() !== q) return;
    choices = [...found.codes, ...ofConcepts(concepts, q.toLowerCase().split(/\s+/))];
    list.replaceChildren(
      ...choices.map((choice, at) => {
        const about = [choice.code];
        if (choice.n !== undefined) about.push(`${choice.n.toLocaleString("en")} values`);
        const item = element(
          "li",
          { id: `track-choice-${at}` },
          element("span", { textContent: choice.description || choice.code }),
          element("span", { className: "muted", textContent: about.join(", ") }),
        );
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        item.addEventListener("mousedown", (event) => {
          event.preventDefault();
          add(choice);
        });
        return item;
      }),
    );
    list.hidden = !choices.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    if (choices.length) mark(0);
  });

  field.addEventListener("input", search);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(chosen + 1);
    else if (event.key === "ArrowUp") mark(chosen - 1);
    else if (event.key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
  });
  document.getElementById("add-track").addEventListener("submit", (event) => {
    event.preventDefault();
    if (choices[chosen]) add(choices[chosen]);
  });
}
