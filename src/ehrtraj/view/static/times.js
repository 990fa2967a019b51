// Times are seconds since 1970 of the patient's shifted calendar, which has no time zone: they are handled as UTC.

export function seconds(text) {
  const time = Date.parse(text.includes("T") ? `${text}Z` : `${text}T00:00:00Z`);
  return Number.isNaN(time) ? null : Math.round(time / 1000);
}

// 2180-07-23T14:00:00
export function iso(time) {
  return new Date(time * 1000).toISOString().slice(0, 19);
}

// 2180-07-23 14:00, with seconds only where there are some
export function readable(time) {
  if (time === null || time === undefined) return "";
  const text = (typeof time === "number" ? iso(time) : time).replace("T", " ");
  return text.endsWith(":00") && text.length > 16 ? text.slice(0, 16) : text;
}
