// What all pages share: searches, the keys, and the panel that explains the keys.
"use strict";

(() => {
  // The policy of the pages forbids forms to be sent (form-action 'none'), so a search opens an address.
  for (const form of document.querySelectorAll("form[data-path]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new URLSearchParams();
      for (const [name, value] of new FormData(form)) {
        if (value.trim()) given.set(name, value.trim());
      }
      const query = given.toString();
      location.assign(form.dataset.path + (query ? `?${query}` : ""));
    });
    for (const select of form.querySelectorAll("select")) {
      select.addEventListener("change", () => form.requestSubmit());
    }
  }

  // The rows of a long list that do not fit on the screen.
  const rest = document.getElementById("rest");
  if (rest) requestAnimationFrame(() => setTimeout(() => { rest.hidden = false; }));

  const help = document.getElementById("help");
  document.getElementById("help-open").addEventListener("click", () => help.showModal());
  document.getElementById("help-close").addEventListener("click", () => help.close());

  const isTyping = (target) => target.matches("input:not([type=range]), select, textarea");

  // In a list, j and k move from row to row; on the page of a patient, from patient to patient.
  function step(direction) {
    const link = document.querySelector(`.neighbours a[rel=${direction > 0 ? "next" : "prev"}]`);
    if (link) {
      link.click();
      return;
    }
    const rows = [...document.querySelectorAll("main > .wide .list tbody tr a:first-child, main > section .list tbody button")];
    const at = rows.findIndex((row) => row.closest("tr").contains(document.activeElement));
    const next = rows[Math.min(Math.max(at + direction, 0), rows.length - 1)];
    if (next) next.focus();
  }

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    "?": () => help.showModal(),
    j: () => step(1),
    k: () => step(-1),
    r: () => document.getElementById("random")?.click(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });
})();
