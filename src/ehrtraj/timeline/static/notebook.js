// The timeline of a page that contains its data, such as a notebook cell: nothing is requested.
(function () {
  "use strict";
  const ehrtraj = (globalThis.ehrtraj = globalThis.ehrtraj || {});
  const { dates } = ehrtraj;
  const { element, readable } = ehrtraj.strips;
  const { number, search } = ehrtraj.chart;
  const MOST_ROWS = 200;
  const LEAST_WINDOW = 1800; // Seconds around the chosen time.

  // Times are stored as differences, which are short.
  function undo(differences) {
    let t = 0;
    return differences.map((one) => (t += one));
  }

  function source(data) {
    const series = {};
    const none = { t: [], v: [], n: 0, low: null, high: null, flags: {} };
    for (const [code, one] of Object.entries(data.series)) series[code] = { ...one, t: undo(one.dt) };
    return {
      series,
      api: {
        outline: async () => data.outline,
        series: async ({ codes }) => Object.fromEntries(codes.map((code) => [code, series[code] || none])),
        note: async ({ position }) => ({ text: data.notes[position] || "The text of this note is not in this page." }),
      },
    };
  }

  // Rows of what is drawn in a period: values of the tracks, bars and marks.
  function rowsOf(data, series, tracks, from, to) {
    const rows = [];
    const label = (code) => specs(data).find((one) => one.code === code);
    for (const code of tracks) {
      const { t, v, unit } = series[code] || { t: [], v: [] };
      for (let at = search(t, from); at < t.length && t[at] <= to; at++) {
        if (v[at] !== null) rows.push({ t: t[at], what: label(code).label, value: number(v[at]) + " " + readable(unit || "") });
      }
    }
    for (const lane of data.outline.bars.filter((one) => one.open)) {
      lane.start.forEach((start, at) => {
        const end = lane.end[at] === null ? start : lane.end[at];
        if (start <= to && end >= from) rows.push({ t: start, what: lane.label, value: readable(lane.text[at]) });
      });
    }
    for (const mark of data.outline.marks) {
      if (mark.t >= from && mark.t <= to) rows.push({ t: mark.t, what: mark.group + ": " + mark.label, value: mark.text || "" });
    }
    return rows.sort((one, other) => one.t - other.t);
  }

  function specs(data) {
    return data.outline.concepts.flatMap((concept) => concept.columns).concat(data.outline.series).filter((one) => data.series[one.code]);
  }

  function table(rows, title) {
    const made = element("table", "tl-table");
    made.append(element("caption", "", title));
    const head = made.createTHead().insertRow();
    for (const name of ["Time", "What", "Value"]) {
      const cell = element("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = made.createTBody();
    for (const row of rows.slice(0, MOST_ROWS)) {
      const line = body.insertRow();
      for (const text of [dates.moment(row.t), row.what, row.value]) line.append(element("td", "", text));
    }
    return made;
  }

  // A field that adds a track by its name.
  function picker(data, timeline) {
    const all = specs(data);
    const form = element("label", "tl-add", "Add a track");
    const input = element("input");
    const list = element("datalist");
    list.id = "tl-codes";
    input.setAttribute("list", list.id);
    for (const one of all) {
      const option = element("option");
      option.value = one.label;
      option.label = one.code + ", " + one.n + " values";
      list.append(option);
    }
    input.addEventListener("change", () => {
      const chosen = all.find((one) => one.label === input.value || one.code === input.value);
      if (!chosen) return;
      timeline.addTrack(chosen.code);
      input.value = "";
    });
    form.append(input, list);
    return form;
  }

  ehrtraj.page = function (host, facts, data) {
    const { series, api } = source(data);
    const below = element("div", "tl");
    below.setAttribute("aria-live", "polite");
    const options = {
      start: data.start,
      end: data.end,
      tracks: data.tracks,
      onCursor: (time, { pinned }) => {
        if (!pinned) return;
        const view = timeline.view();
        const half = Math.max(LEAST_WINDOW, (view.end - view.start) / 200);
        const rows = rowsOf(data, series, timeline.tracks(), time - half, time + half);
        const period = dates.moment(time - half) + " to " + dates.moment(time + half);
        const shown = rows.length > MOST_ROWS ? ", the first " + MOST_ROWS + " of " + rows.length : "";
        below.replaceChildren(table(rows, period + ": " + rows.length + " drawn events" + shown));
      },
    };
    const timeline = ehrtraj.timeline(host, api, options);
    facts.append(picker(data, timeline));
    host.after(below);
    return timeline;
  };

  const host = document.getElementById("timeline");
  const stored = document.getElementById("data");
  if (host && stored) ehrtraj.shown = ehrtraj.page(host, document.getElementById("facts"), JSON.parse(stored.textContent));
})();
