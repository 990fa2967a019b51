// The data of one patient, from the server. With as_of, the server hides what was not known.

const root = document.getElementById("timeline").dataset;

async function ask(name, parameters = {}) {
  const query = new URLSearchParams();
  if (root.asOf) query.set("as_of", root.asOf);
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) query.set(key, value);
  }
  return fetchJson(`/api/patients/${root.patient}/${name}`, query);
}

async function fetchJson(path, query) {
  let answer;
  try {
    answer = await fetch(`${path}?${query}`);
  } catch {
    throw new Error("The viewer does not answer. Is it still running?");
  }
  // The answer to a request without a valid token is a page.
  if (answer.status === 403) throw new Error("The viewer was started again. Open the address that it printed.");
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

async function askCodes(name, { codes, start, end, ...more }) {
  const query = new URLSearchParams({ start: Math.floor(start), end: Math.ceil(end), ...more });
  if (root.asOf) query.set("as_of", root.asOf);
  for (const code of codes ?? []) query.append("code", code);
  return fetchJson(`/api/patients/${root.patient}/${name}`, query);
}

export const source = {
  outline: () => ask("outline"),
  series: ({ codes, start, end, width }) => askCodes("series", { codes, start, end, width: Math.ceil(width) }),
  events: ({ start, end, codes, offset = 0, limit = 200 }) => askCodes("events", { codes, start, end, offset, limit }),
  items: ({ start, end, width }) => askCodes("items", { start, end, width: Math.ceil(width) }),
  explain: (event, search = false) => ask("explain", { position: event.position, rows: search ? 1 : null }),
  note: ({ position }) => ask("note", { position }),
  codes: (q) => ask("codes", { q }),
};
