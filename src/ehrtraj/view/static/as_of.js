// The slider that hides the future. It opens an address: the server leaves out what was not known, so that nothing
// later is in the memory of the page either.

import { changed } from "./address.js";
import { debounced } from "./dom.js";
import { iso, readable, seconds } from "./times.js";

const slider = document.getElementById("as-of-slider");
const field = document.getElementById("as-of-time");
const given = document.getElementById("timeline").dataset.asOf;
const FOCUSED = "ehrtraj-focused";

function open(time) {
  if (time === null || (given && time === seconds(given))) return;
  sessionStorage.setItem(FOCUSED, document.activeElement?.id ?? "");
  location.assign(changed({ as_of: iso(time) }));
}

// With a cut, the scale ends at the cut: an end from the data would show how long the record is.
export function prepare(extent) {
  const end = given ? seconds(given) : extent.end;
  const start = Math.min(extent.start ?? end, end);
  if (end === null || end === undefined || start >= end) return;
  slider.min = start;
  slider.max = end;
  slider.step = Math.max(1, Math.round((end - start) / 1000));
  slider.value = end;
  slider.disabled = false;
  slider.setAttribute("aria-valuetext", readable(end));
  if (sessionStorage.getItem(FOCUSED) === slider.id) slider.focus();
  sessionStorage.removeItem(FOCUSED);
}

slider.addEventListener("input", () => {
  slider.setAttribute("aria-valuetext", readable(Number(slider.value)));
  field.value = iso(Number(slider.value));
});
// Keys change the slider step by step.
slider.addEventListener("change", debounced(400, () => open(Number(slider.value))));
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && field.value) open(seconds(field.value));
});
field.addEventListener("change", debounced(1200, () => field.value && open(seconds(field.value))));
for (const button of document.querySelectorAll("button[data-step]")) {
  button.addEventListener("click", () => open(seconds(given) + Number(button.dataset.step)));
}
document.getElementById("as-of-off")?.addEventListener("click", (event) => {
  event.preventDefault();
  location.assign(changed({ as_of: null }));
});
