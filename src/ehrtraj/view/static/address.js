// The state of the page is in its address, so that it can be bookmarked: from, to, tracks and as_of.

import { iso, seconds } from "./times.js";

// Codes are separated by commas, and can contain commas: the raw address is divided before it is decoded.
function raw(name) {
  const found = location.search.slice(1).split("&").find((part) => part.startsWith(`${name}=`));
  return found === undefined ? null : found.slice(name.length + 1);
}

function decoded(text) {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return "";
  }
}

export function range() {
  const [start, end] = ["from", "to"].map((name) => {
    const text = raw(name);
    return text === null ? null : seconds(decoded(text));
  });
  return start !== null && end !== null && start < end ? [start, end] : null;
}

export function tracks() {
  const text = raw("tracks");
  return text === null ? null : text.split(",").map(decoded).filter(Boolean);
}

function readableCode(code) {
  return encodeURIComponent(code).replaceAll("%2F", "/").replaceAll("%3A", ":");
}

// Returns the address with some parameters changed; null removes one.
export function changed(values) {
  const kept = location.search.slice(1).split("&").filter((part) => part && !(part.split("=")[0] in values));
  for (const [name, value] of Object.entries(values)) {
    if (value !== null) kept.push(`${name}=${value}`);
  }
  return location.pathname + (kept.length ? `?${kept.join("&")}` : "");
}

export function remember({ start, end, codes }) {
  const values = {};
  if (start !== undefined) Object.assign(values, { from: iso(start), to: iso(end) });
  if (codes !== undefined) values.tracks = codes === null ? null : codes.map(readableCode).join(",");
  history.replaceState(null, "", changed(values));
}
