// Rows that are painted on a canvas: the time axis, the overview, stays, marks, notes and lanes of bars.
// A strip has `element` and `paint(view)`. Its first `left` pixels hold labels, the rest is the plot.
(function () {
  "use strict";
  const ehrtraj = (globalThis.ehrtraj = globalThis.ehrtraj || {});
  const { dates } = ehrtraj;
  const LANE = 20;
  const NARROW_LANE = 32;
  const NEAR = 20; // Marks that are closer than this many pixels are drawn as one.
  const MOST_LISTED = 8;

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // Shortens a text to a width in pixels.
  function fitted(context, text, width) {
    if (width < 8) return "";
    if (context.measureText(text).width <= width) return text;
    let low = 0;
    let high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (context.measureText(text.slice(0, middle) + "…").width <= width) low = middle;
      else high = middle - 1;
    }
    return low ? text.slice(0, low).trimEnd() + "…" : "";
  }

  class Strip {
    constructor(shared, name) {
      this.shared = shared;
      this.element = element("div", "tl-strip " + name);
      this.canvas = element("canvas");
      this.canvas.setAttribute("role", "img");
      this.element.append(this.canvas);
      this.hits = [];
      this.visible = true;
    }

    // Sizes the canvas in device pixels and returns its context, scaled to CSS pixels.
    begin(height) {
      const { width } = this.shared.layout;
      const ratio = globalThis.devicePixelRatio || 1;
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (this.canvas.width !== w || this.canvas.height !== h) {
        this.canvas.width = w;
        this.canvas.height = h;
        this.canvas.style.width = width + "px";
        this.canvas.style.height = height + "px";
      }
      const context = this.canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      context.font = this.shared.font;
      context.textBaseline = "middle";
      this.hits = [];
      return context;
    }

    describe(text) {
      if (this.canvas.getAttribute("aria-label") !== text) this.canvas.setAttribute("aria-label", text);
    }

    clip(context, height) {
      const { left, right, width } = this.shared.layout;
      context.save();
      context.beginPath();
      context.rect(left, 0, width - left - right, height);
      context.clip();
    }

    grid(context, view, height) {
      context.fillStyle = this.shared.colors.grid;
      for (const { t } of this.shared.ticks(view).minor) context.fillRect(Math.round(this.shared.x(t, view)), 0, 1, height);
    }

    rowLabel(context, text, middle) {
      const { left, inline } = this.shared.layout;
      context.fillStyle = this.shared.colors.muted;
      if (inline) return;
      context.textAlign = "left";
      context.fillText(fitted(context, text, left - 14), 0, middle);
    }

    // Returns what is at a point of the canvas, the topmost first.
    at(x, y) {
      for (let i = this.hits.length - 1; i >= 0; i--) {
        const hit = this.hits[i];
        if (x >= hit.x0 && x <= hit.x1 && y >= hit.y0 && y <= hit.y1) return hit;
      }
      return null;
    }
  }

  class Axis extends Strip {
    constructor(shared) {
      super(shared, "tl-axis");
    }

    paint(view) {
      const context = this.begin(36);
      const { left, right, width } = this.shared.layout;
      const { minor, major } = this.shared.ticks(view);
      const x = (t, period) => this.shared.x(t, period);
      const edge = width - right;
      context.fillStyle = this.shared.colors.ink;
      context.textAlign = "left";
      let free = left;
      major.forEach((one, at) => {
        const begin = Math.max(left, x(one.t, view));
        const next = at + 1 < major.length ? x(major[at + 1].t, view) : edge + 60;
        const needed = context.measureText(one.text).width;
        if (begin >= free && begin + needed <= Math.min(next - 6, width)) {
          context.fillText(one.text, begin + (begin > left ? 3 : 0), 9);
          free = begin + needed + 10;
        }
        if (x(one.t, view) >= left) context.fillRect(Math.round(x(one.t, view)), 2, 1, 34);
      });
      context.fillStyle = this.shared.colors.muted;
      context.textAlign = "center";
      for (const one of minor) {
        const at = x(one.t, view);
        const half = context.measureText(one.text).width / 2;
        if (at - half >= left - 4 && at + half <= width) context.fillText(one.text, at, 26);
      }
      context.fillStyle = this.shared.colors.line;
      context.fillRect(left, 35, edge - left, 1);
      this.describe("Time axis from " + dates.moment(view.start) + " to " + dates.moment(view.end));
    }
  }

  const KINDS = { admission: "Hospital", icu_stay: "Intensive care", ed_stay: "Emergency" };

  class Overview extends Strip {
    constructor(shared) {
      super(shared, "tl-overview");
    }

    paint(view) {
      const height = 26;
      const context = this.begin(height);
      const { colors, allStays, layout } = this.shared;
      const full = this.shared.full();
      const x = (t) => this.shared.x(t, full);
      this.rowLabel(context, "All time", height / 2);
      context.fillStyle = colors.soft;
      context.fillRect(layout.left, 5, layout.width - layout.left - layout.right, height - 10);
      this.clip(context, height);
      for (const stay of allStays) {
        context.fillStyle = colors.bands[stay.kind];
        const end = this.shared.endOf(stay.end);
        const high = stay.kind === "admission" ? [5, 16] : [8, 10];
        const wide = Math.max(2, x(end) - x(stay.start));
        context.fillRect(x(stay.start), high[0], wide, high[1]);
        // A stay of a day is a thin line in a record of years, but can be clicked.
        const text = [KINDS[stay.kind] + ": " + stay.label, dates.moment(stay.start) + ". Click to show it"];
        this.hits.push({ x0: x(stay.start) - 3, x1: x(stay.start) + wide + 3, y0: 0, y1: height, text, period: [stay.start, end] });
      }
      const [from, to] = [x(view.start), x(view.end)];
      context.strokeStyle = colors.ink;
      context.lineWidth = 1.5;
      context.strokeRect(Math.round(from) - 0.5, 2.5, Math.max(4, Math.round(to - from)), height - 5);
      context.restore();
      const span = dates.day(full.start) + " to " + dates.day(full.end);
      this.describe("Overview of the complete record, " + span + ", with " + allStays.length + " stays");
    }
  }

  class Stays extends Strip {
    constructor(shared) {
      super(shared, "tl-stays");
    }

    // Chooses the kinds of stays in a view. It is called when the view settles, so that rows do not jump during a drag.
    choose(view) {
      const within = (stay) => stay.start <= view.end && this.shared.endOf(stay.end) >= view.start;
      const kinds = new Set(this.shared.outline.stays.filter(within).map((stay) => stay.kind));
      this.present = Object.keys(KINDS).filter((kind) => kinds.has(kind));
    }

    paint(view) {
      const { outline, colors, layout } = this.shared;
      const kinds = this.present;
      const lane = 20;
      const height = Math.max(1, kinds.length) * lane + 2;
      const context = this.begin(height);
      this.grid(context, view, height);
      kinds.forEach((kind, row) => {
        const top = row * lane + 2;
        this.rowLabel(context, KINDS[kind], top + 8);
        this.clip(context, height);
        for (const stay of outline.stays) {
          if (stay.kind !== kind) continue;
          const end = this.shared.endOf(stay.end);
          if (end < view.start || stay.start > view.end) continue;
          const x0 = Math.max(layout.left, this.shared.x(stay.start, view));
          const x1 = Math.min(layout.width - layout.right, this.shared.x(end, view));
          const wide = Math.max(2, x1 - x0);
          context.fillStyle = colors.bands[kind];
          context.fillRect(x0, top, wide, 16);
          context.fillStyle = colors.bandInk;
          context.textAlign = "left";
          const name = layout.inline ? KINDS[kind] + ": " + stay.label : stay.label;
          context.fillText(fitted(context, name, wide - 10), x0 + 5, top + 8.5);
          const lasts = stay.end === null ? "end not known" : dates.duration(stay.end - stay.start);
          const text = [KINDS[kind] + ": " + stay.label, dates.moment(stay.start) + ", " + lasts];
          this.hits.push({ x0, x1: x0 + wide, y0: top, y1: top + 16, text });
        }
        context.restore();
      });
      this.describe(outline.stays.length + " stays: hospital, intensive care and emergency department");
    }
  }

  class Marks extends Strip {
    constructor(shared) {
      super(shared, "tl-marks");
    }

    // Chooses the rows of a view: notes, and a group of marks each. It is called when the view settles.
    choose(view) {
      const { notes, marks } = this.shared.outline;
      const rows = new Map();
      const add = (group, mark) => {
        if (!rows.has(group)) rows.set(group, { marks: [], seen: false });
        const row = rows.get(group);
        row.marks.push(mark);
        row.seen = row.seen || (mark.t >= view.start && mark.t <= view.end);
      };
      for (const note of notes) add("Notes", { ...note, label: note.title, text: null, note: true });
      for (const mark of marks) add(mark.group, mark);
      // The colour of a group does not depend on the view.
      this.present = Array.from(rows, ([group, row], at) => ({ group, ...row, at })).filter((row) => row.seen);
    }

    paint(view) {
      const { layout, colors } = this.shared;
      const rows = this.present;
      const lane = layout.inline ? 34 : 22;
      const context = this.begin(Math.max(1, rows.length * lane));
      this.element.hidden = rows.length === 0;
      this.grid(context, view, rows.length * lane);
      rows.forEach(({ group, marks, at }, row) => {
        const top = row * lane;
        const middle = top + (layout.inline ? 22 : 11);
        this.rowLabel(context, group, middle);
        if (layout.inline) {
          context.fillStyle = colors.muted;
          context.textAlign = "left";
          context.fillText(group, 2, top + 7);
        }
        this.clip(context, rows.length * lane);
        this.paintRow(context, view, group, marks, middle, colors.series[at % colors.series.length]);
        context.restore();
      });
      const counts = rows.map(({ group, marks }) => group + ": " + marks.reduce((sum, one) => sum + 1 + one.more, 0));
      this.describe("Marks. " + counts.join(", ") + ". The events are listed in the table of events");
    }

    paintRow(context, view, group, marks, middle, color) {
      const { layout, colors } = this.shared;
      const shown = [];
      for (const mark of marks) {
        if (mark.t < view.start || mark.t > view.end) continue;
        const x = this.shared.x(mark.t, view);
        const last = shown[shown.length - 1];
        if (last && x - last.x < NEAR) {
          last.marks.push(mark);
          last.count += 1 + mark.more;
        } else shown.push({ x, marks: [mark], count: 1 + mark.more });
      }
      const edge = layout.width - layout.right;
      let free = 0;
      shown.forEach((one, at) => {
        const next = at + 1 < shown.length ? shown[at + 1].x - 6 : edge;
        context.fillStyle = color;
        context.strokeStyle = color;
        let right = one.x + 5;
        if (one.marks[0].note) paintNote(context, one.x, middle, colors);
        else paintDiamond(context, one.x, middle);
        if (one.count > 1) {
          context.fillStyle = colors.ink;
          const count = String(one.count);
          const needed = context.measureText(count).width;
          // After the mark, or before it if the next one is too near.
          const after = one.x + 8 + needed <= next;
          context.textAlign = after ? "left" : "right";
          if (after || one.x - 10 - needed > free) context.fillText(count, after ? one.x + 8 : one.x - 8, middle + 0.5);
          right += after ? needed + 6 : 0;
        } else if (next - one.x > 60) {
          context.fillStyle = colors.ink;
          context.textAlign = "left";
          const mark = one.marks[0];
          const text = mark.text && mark.text !== mark.label ? mark.label + ": " + mark.text : mark.label;
          const written = fitted(context, text.replace(/\s+/g, " "), Math.min(240, next - one.x - 12));
          context.fillText(written, one.x + 9, middle + 0.5);
          right += context.measureText(written).width + 6;
        }
        free = right;
        const lines = one.marks.slice(0, MOST_LISTED).map((mark) => mark.label + (mark.text ? ": " + mark.text : ""));
        const left = one.count - lines.length;
        if (left > 0) lines.push("+" + left + " more");
        const text = [group + ", " + dates.moment(one.marks[0].t)].concat(lines);
        this.hits.push({ x0: one.x - 7, x1: right, y0: middle - 10, y1: middle + 10, text, mark: one.marks[0], marks: one.marks });
      });
    }
  }

  function paintDiamond(context, x, y) {
    context.beginPath();
    context.moveTo(x, y - 5);
    context.lineTo(x + 5, y);
    context.lineTo(x, y + 5);
    context.lineTo(x - 5, y);
    context.fill();
  }

  function paintNote(context, x, y, colors) {
    context.fillStyle = colors.paper;
    context.strokeStyle = colors.ink;
    context.lineWidth = 1;
    context.fillRect(Math.round(x) - 4.5, Math.round(y) - 6.5, 9, 12);
    context.strokeRect(Math.round(x) - 4.5, Math.round(y) - 6.5, 9, 12);
    context.fillStyle = colors.ink;
    for (const line of [-4, -1, 2]) context.fillRect(Math.round(x) - 2, Math.round(y) + line, 4, 1);
  }

  class Bars extends Strip {
    // `lanes` of one group; only those with a bar in the view are painted.
    constructor(shared, group, lanes, color) {
      super(shared, "tl-bars");
      this.group = group;
      this.lanes = lanes;
      this.color = color;
      this.all = false;
      this.present = null;
    }

    // Chooses the lanes of a view. It is called when the view settles, so that lanes do not jump during a drag.
    choose(view, most) {
      const found = this.lanes.filter((lane) => lane.start.some((start, at) => start <= view.end && this.end(lane, at) >= view.start));
      this.found = found.length;
      this.present = this.all ? found : found.slice(0, most);
    }

    end(lane, at) {
      const end = lane.end[at];
      return end === null ? lane.start[at] : end;
    }

    paint(view) {
      const { layout, colors } = this.shared;
      const high = layout.inline ? NARROW_LANE : LANE;
      const height = Math.max(1, this.present.length * high);
      const context = this.begin(height);
      this.grid(context, view, height);
      this.present.forEach((lane, row) => {
        const top = row * high;
        const middle = top + (layout.inline ? 22 : 10);
        this.rowLabel(context, lane.label, middle);
        if (layout.inline) {
          context.fillStyle = colors.muted;
          context.textAlign = "left";
          context.fillText(fitted(context, lane.label, layout.width - 8), 2, top + 7);
        }
        this.clip(context, height);
        this.paintLane(context, view, lane, middle);
        context.restore();
      });
      const count = this.present.reduce((sum, lane) => sum + lane.start.length, 0);
      this.describe(this.group + ": " + this.present.length + " lanes with " + count + " bars. The events are listed in the table of events");
    }

    paintLane(context, view, lane, middle) {
      const { layout, colors } = this.shared;
      const edge = layout.width - layout.right;
      const texts = [];
      for (let at = 0; at < lane.start.length; at++) {
        const [start, end] = [lane.start[at], this.end(lane, at)];
        if (start > view.end || end < view.start) continue;
        const x0 = Math.max(layout.left - 2, this.shared.x(start, view));
        const x1 = Math.min(edge + 2, this.shared.x(end, view));
        const wide = Math.max(2, x1 - x0 - 0.5);
        context.fillStyle = this.color;
        context.globalAlpha = 0.95;
        context.fillRect(x0, middle - 6, wide, 12);
        context.globalAlpha = 1;
        const count = lane.count ? lane.count[at] : 1;
        const text = count > 1 ? count + " joined" : lane.text[at];
        if (wide > 44) texts.push({ x0, x1, text: readable(text.split(",")[0]) });
        const until = end > start ? " to " + (dates.day(end) === dates.day(start) ? dates.clock(end) : dates.moment(end)) : "";
        const open = lane.end[at] === null ? ", end not known" : "";
        const lines = [lane.label, dates.moment(start) + until + open].concat(text ? [readable(text)] : []);
        this.hits.push({ x0: x0 - 2, x1: x0 + wide + 2, y0: middle - 8, y1: middle + 8, text: lines });
      }
      // Above all bars, since bars of one lane can overlap.
      context.fillStyle = colors.bandInk;
      context.textAlign = "left";
      let until = -1;
      for (const { x0, x1, text } of texts) {
        if (x0 < until) continue;
        context.fillText(fitted(context, text, x1 - x0 - 8), x0 + 4, middle + 0.5);
        until = x1;
      }
    }
  }

  // Units of UCUM as readers know them: mm[Hg] is mmHg, Cel is °C, ug is µg, [USP'U] is U, 10*3/uL is 10³/µL.
  const POWERS = { 3: "³", 6: "⁶", 9: "⁹", 12: "¹²" };
  function readable(unit) {
    return unit
      .replace(/10\*(12|[369])/g, (_, power) => "10" + POWERS[power])
      .replace(/\bCel\b/g, "°C")
      .replace(/\[degF\]/g, "°F")
      .replace(/\[USP'U\]/g, "U")
      .replace(/\bu(?=(g|L|mol|m)\b)/g, "µ")
      .replace(/[[\]{}]/g, "");
  }

  ehrtraj.strips = { Axis, Overview, Stays, Marks, Bars, element, readable };
})();
