// The picture of one patient. `ehrtraj.timeline(element, source, options)` draws it into an element.
//
// source: functions that return promises: outline(), series({codes, start, end, width}), and optionally
//   items({start, end, width}) (more detail of bars and marks), note({position}), events({start, end, codes, offset,
//   limit}).
// options, all optional: start, end (seconds), tracks (codes), onCursor(time, {pinned}), onRange(start, end),
//   onSelect(event), onTracks(codes).
// It returns {show(start, end), addTrack(code), removeTrack(code), tracks(), reload(), destroy(), ready}.
(function () {
  "use strict";
  const ehrtraj = (globalThis.ehrtraj = globalThis.ehrtraj || {});
  const { dates } = ehrtraj;
  const { Axis, Overview, Stays, Marks, Bars, element } = ehrtraj.strips;
  const { Chart } = ehrtraj.chart;

  const WIDE = { left: 196, axis: 52, right: 10, inline: false };
  const NARROW = { left: 40, axis: 40, right: 6, inline: true };
  const NARROWER = 640; // Pixels below which labels are above the plots.
  const SHORTEST = 120; // Seconds in view.
  const SETTLED = 140; // Milliseconds without a change before data are requested again.
  const CLICK = 4; // A drag over fewer pixels is a click.
  const MOST_LANES = 10;
  const MOST_WIDTH = 2000;
  const MOST_NOTES = 10; // Notes that are opened at once.
  const HALF_TIME = 60; // Half the width of the time at the cursor, in pixels.

  class Timeline {
    constructor(host, source, options) {
      this.host = host;
      this.source = source;
      this.options = options || {};
      this.charts = new Map();
      this.hover = null;
      this.serial = 0;
      this.details = 0;
      this.stop = new AbortController();
      this.build();
      this.ready = this.reload();
    }

    // What strips and charts need to paint.
    get shared() {
      return this;
    }

    // ---- Elements --------------------------------------------------------------------------------------------------

    build() {
      this.root = element("div", "tl");
      this.root.tabIndex = 0;
      this.root.setAttribute("role", "group");
      this.root.setAttribute("aria-label", "Timeline. Arrow keys move it, plus and minus zoom, 0 shows everything");
      this.bar = element("div", "tl-toolbar");
      this.span = element("span", "tl-span");
      const button = (text, name, act) => {
        const made = element("button", "tl-button", text);
        made.type = "button";
        made.setAttribute("aria-label", name);
        made.title = name;
        made.addEventListener("click", act);
        this.bar.append(made);
      };
      button("‹", "Earlier", () => this.pan(-0.5));
      button("›", "Later", () => this.pan(0.5));
      button("+", "Zoom in", () => this.zoom(0.5));
      button("−", "Zoom out", () => this.zoom(2));
      button("All", "Show everything", () => this.reset());
      this.bar.append(this.span);
      this.body = element("div", "tl-body");
      this.cursor = element("div", "tl-cursor");
      this.select = element("div", "tl-select");
      this.tip = element("div", "tl-tip");
      this.message = element("p", "tl-message", "Reading …");
      this.reader = element("dialog", "tl-reader");
      for (const one of [this.cursor, this.select, this.tip]) one.hidden = true;
      this.root.append(this.bar, this.message, this.body, this.reader);
      this.host.replaceChildren(this.root);
      this.listen();
    }

    listen() {
      const { signal } = this.stop;
      const on = (target, name, act, passive = true) => target.addEventListener(name, act, { signal, passive });
      on(this.body, "pointerdown", (event) => this.press(event));
      on(this.body, "pointermove", (event) => this.move(event));
      on(this.body, "pointerup", (event) => this.release(event));
      on(this.body, "pointercancel", () => this.cancel());
      on(this.body, "pointerleave", () => this.leave());
      on(this.body, "dblclick", (event) => this.inPlot(event) && !this.inOverview(event) && this.reset());
      on(this.body, "wheel", (event) => this.wheel(event), false);
      on(this.root, "keydown", (event) => this.key(event), false);
      this.sizes = new ResizeObserver(() => this.resize());
      this.sizes.observe(this.body);
      // Only tracks that are visible, or nearly, have a canvas.
      this.seen = new IntersectionObserver((entries) => this.see(entries), { rootMargin: "200px 0px" });
      const dark = globalThis.matchMedia("(prefers-color-scheme: dark)");
      on(dark, "change", () => this.recolor());
    }

    // Builds the rows for a new outline; charts that are still shown keep their place.
    rows() {
      this.body.replaceChildren(this.cursor, this.select, this.tip);
      this.axis = new Axis(this);
      this.overview = new Overview(this);
      this.stays = new Stays(this);
      this.marks = new Marks(this);
      const head = element("div", "tl-head");
      head.append(this.overview.element, this.axis.element, this.stays.element);
      this.tracksHost = element("div", "tl-tracks");
      this.barsHost = element("div", "tl-groups");
      this.body.append(head, this.marks.element, this.tracksHost, this.barsHost);
      this.placeTracks();
      this.placeBars();
    }

    // Groups of series in the order of their first track, each with a heading.
    placeTracks() {
      const groups = new Map();
      for (const chart of this.charts.values()) {
        const name = chart.spec.group || "";
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(chart);
      }
      const made = [];
      for (const [name, charts] of groups) {
        made.push(element("h2", "tl-heading", name));
        for (const chart of charts) made.push(chart.element);
      }
      this.tracksHost.replaceChildren(...made);
    }

    placeBars() {
      const groups = new Map();
      for (const lane of this.outline.bars) {
        if (!groups.has(lane.group)) groups.set(lane.group, []);
        groups.get(lane.group).push(lane);
      }
      const before = new Map((this.bars || []).map((one) => [one.strip.group, one]));
      let row = 0;
      this.bars = Array.from(groups, ([name, lanes]) => {
        const old = before.get(name);
        const color = this.colors.series[row++ % this.colors.series.length];
        const strip = new Bars(this, name, lanes, color);
        const one = { strip, open: old ? old.open : lanes[0].open, element: element("section", "tl-group") };
        strip.all = Boolean(old && old.strip.all);
        one.toggle = element("button", "tl-toggle");
        one.toggle.type = "button";
        one.more = element("button", "tl-more");
        one.more.type = "button";
        one.toggle.addEventListener("click", () => {
          one.open = !one.open;
          this.settle();
        });
        one.more.addEventListener("click", () => {
          strip.all = !strip.all;
          this.settle();
        });
        const heading = element("h2", "tl-heading");
        heading.append(one.toggle);
        one.element.append(heading, strip.element, one.more);
        return one;
      });
      this.barsHost.replaceChildren(...this.bars.map((one) => one.element));
    }

    // ---- Data ------------------------------------------------------------------------------------------------------

    // Reads everything again, for example for another `as_of`. The view and the tracks stay.
    async reload() {
      const serial = ++this.serial;
      let outline;
      try {
        outline = await this.source.outline();
      } catch (error) {
        this.say(error.message || String(error));
        return;
      }
      if (serial !== this.serial || this.stop.signal.aborted) return;
      const first = !this.view;
      this.outline = outline;
      this.allStays = outline.stays;
      this.specs = new Map();
      for (const one of outline.concepts.flatMap((concept) => concept.columns).concat(outline.series)) this.specs.set(one.code, one);
      if (!outline.extent) {
        this.body.replaceChildren();
        this.say("No events with a time are known.");
        return;
      }
      this.say("");
      this.readColors();
      this.layout = { ...WIDE, width: 0 };
      const codes = first ? this.options.tracks || this.atFirst() : this.tracks();
      for (const chart of this.charts.values()) chart.drop();
      this.charts.clear();
      for (const code of codes) this.makeChart(code);
      if (first) {
        const { start, end } = this.options;
        this.view = Number.isFinite(start) && Number.isFinite(end) ? { start, end } : { ...outline.view };
      }
      this.view = this.clamped(this.view.start, this.view.end);
      this.rows();
      this.resize(true);
      this.observe();
    }

    atFirst() {
      const chosen = Array.from(this.specs.values()).filter((one) => one.default);
      return chosen.sort((one, other) => one.order - other.order).map((one) => one.code);
    }

    makeChart(code) {
      const spec = this.specs.get(code) || { code, label: code, unit: "", group: "Other" };
      const groups = new Set(Array.from(this.charts.values(), (chart) => chart.spec.group));
      groups.add(spec.group);
      const color = this.colors.series[(Array.from(groups).indexOf(spec.group)) % this.colors.series.length];
      const chart = new Chart(this, spec, color, (one) => this.removeTrack(one));
      this.charts.set(code, chart);
      return chart;
    }

    observe() {
      this.seen.disconnect();
      for (const chart of this.charts.values()) this.seen.observe(chart.element);
    }

    see(entries) {
      const byElement = new Map(Array.from(this.charts.values(), (chart) => [chart.element, chart]));
      for (const entry of entries) {
        const chart = byElement.get(entry.target);
        if (!chart || chart.visible === entry.isIntersecting) continue;
        chart.show(entry.isIntersecting);
      }
      this.request();
      this.redraw();
    }

    // Requests what the visible charts lack: the view with its surroundings, then the complete record.
    request() {
      clearTimeout(this.asking);
      this.asking = setTimeout(() => this.fetch(), 0);
    }

    async fetch() {
      const visible = Array.from(this.charts.values()).filter((chart) => chart.visible && !chart.refused);
      const { start, end } = this.view;
      const around = (end - start) / 2;
      const period = [Math.floor(start - around), Math.ceil(end + around)];
      const width = Math.min(MOST_WIDTH, Math.round(this.plotWidth() * 2));
      const lacking = visible.filter((chart) => !this.covers(chart.levels.detail) && !this.covers(chart.asked.detail));
      await this.load("detail", lacking, period, width);
      const full = this.full();
      const without = visible.filter((chart) => !chart.levels.all && !chart.asked.all);
      await this.load("all", without, [full.start, full.end], Math.min(MOST_WIDTH, Math.round(this.plotWidth())));
    }

    // Whether a level shows the view in as much detail as the screen can.
    covers(level) {
      if (!level) return false;
      const [from, to] = level.period;
      const { start, end } = this.view;
      return from <= start && to >= end && (level.complete || to - from <= (end - start) * 3);
    }

    async load(level, charts, period, width) {
      if (!charts.length) return;
      const serial = this.serial;
      const [start, end] = period;
      for (const chart of charts) chart.asked[level] = { period };
      let found;
      try {
        found = await this.source.series({ codes: charts.map((chart) => chart.code), start, end, width });
      } catch (error) {
        for (const chart of charts) delete chart.asked[level];
        // One code that does not exist must not hide the others.
        if (charts.length > 1) for (const chart of charts) await this.load(level, [chart], period, width);
        else {
          charts[0].refused = true;
          this.say(charts[0].spec.label + ": " + (error.message || String(error)));
        }
        return;
      }
      // The patient or the time of as_of has changed meanwhile.
      if (serial !== this.serial || this.stop.signal.aborted) return;
      for (const chart of charts) {
        // An answer can be late, after that for a later view.
        if (level === "detail" && this.covers(chart.levels.detail)) continue;
        if (found[chart.code]) chart.receive(level, found[chart.code], period);
        chart.choose(this.view);
      }
      this.redraw();
    }

    // Requests bars, marks and stays that the outline has joined, for the view and its surroundings.
    async detail() {
      if (!this.outline.clustered || !this.source.items) return;
      const serial = this.serial;
      const number = ++this.details;
      const { start, end } = this.view;
      const around = (end - start) / 2;
      const period = { start: Math.floor(start - around), end: Math.ceil(end + around) };
      const found = await this.source.items({ ...period, width: Math.round(this.plotWidth() * 2) });
      if (serial !== this.serial || number !== this.details || this.stop.signal.aborted) return;
      Object.assign(this.outline, found);
      this.placeBars();
      this.chooseRows();
      this.redraw();
    }

    // ---- Geometry --------------------------------------------------------------------------------------------------

    plotWidth() {
      return Math.max(50, this.layout.width - this.layout.left - this.layout.right);
    }

    x(t, view) {
      return this.layout.left + ((t - view.start) / (view.end - view.start)) * this.plotWidth();
    }

    timeAt(x) {
      const { start, end } = this.view;
      return start + ((x - this.layout.left) / this.plotWidth()) * (end - start);
    }

    ticks(view) {
      const key = view.start + " " + view.end + " " + this.layout.width;
      if (this.ticksOf !== key) {
        this.ticksOf = key;
        this.lastTicks = dates.ticks(view.start, view.end, this.plotWidth() / 62);
      }
      return this.lastTicks;
    }

    full() {
      const { start, end } = this.outline.extent;
      const margin = Math.ceil(Math.max(SHORTEST, (end - start) * 0.01));
      return { start: start - margin, end: end + margin };
    }

    // End of a stay in the picture: one that is not known reaches to the end of what is known.
    endOf(end) {
      return end === null ? this.outline.known_until || this.outline.extent.end : end;
    }

    clamped(start, end) {
      const full = this.full();
      const most = full.end - full.start;
      const span = Math.min(most, Math.max(SHORTEST, end - start));
      const middle = (start + end) / 2;
      const from = Math.min(Math.max(middle - span / 2, full.start), full.end - span);
      return { start: from, end: from + span };
    }

    resize(force) {
      if (!this.outline || !this.outline.extent) return;
      const width = Math.floor(this.body.clientWidth);
      if (!width || (!force && width === this.layout.width)) return;
      const narrow = width < NARROWER;
      const changed = narrow !== this.layout.inline;
      this.layout = { ...(narrow ? NARROW : WIDE), width };
      this.root.classList.toggle("tl-narrow", narrow);
      if (changed) for (const chart of this.charts.values()) chart.drop();
      this.chooseRows();
      this.redraw();
      this.request();
    }

    readColors() {
      const style = getComputedStyle(this.root);
      const get = (name) => style.getPropertyValue(name).trim();
      this.font = "12px " + style.fontFamily;
      this.colors = {
        ink: get("--tl-ink"),
        paper: get("--tl-paper"),
        muted: get("--tl-muted"),
        line: get("--tl-line"),
        grid: get("--tl-grid"),
        soft: get("--tl-soft"),
        range: get("--tl-range"),
        bandInk: get("--tl-band-ink"),
        bands: { admission: get("--tl-band-admission"), icu_stay: get("--tl-band-icu"), ed_stay: get("--tl-band-ed") },
        series: [1, 2, 3, 4, 5, 6].map((n) => get("--tl-series-" + n)),
      };
    }

    recolor() {
      if (!this.outline || !this.outline.extent) return;
      this.readColors();
      const groups = Array.from(new Set(Array.from(this.charts.values(), (chart) => chart.spec.group)));
      for (const chart of this.charts.values()) {
        chart.color = this.colors.series[groups.indexOf(chart.spec.group) % this.colors.series.length];
        chart.drop();
      }
      this.bars.forEach((one, row) => (one.strip.color = this.colors.series[row % this.colors.series.length]));
      this.redraw();
    }

    // ---- Drawing ---------------------------------------------------------------------------------------------------

    redraw() {
      if (this.frame || !this.outline || !this.outline.extent) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.paint();
      });
    }

    paint() {
      if (this.stop.signal.aborted || !this.layout.width) return;
      const { view } = this;
      for (const strip of [this.overview, this.axis, this.stays, this.marks]) strip.paint(view);
      for (const one of this.bars) if (one.open) one.strip.paint(view);
      for (const chart of this.charts.values()) chart.paint(view);
      this.span.textContent = dates.moment(view.start) + " to " + dates.moment(view.end) + " · " + dates.duration(view.end - view.start);
      this.placeCursor();
    }

    // Decides which rows and lanes are shown in this view.
    chooseRows() {
      this.stays.choose(this.view);
      this.marks.choose(this.view);
      for (const chart of this.charts.values()) chart.choose(this.view);
      for (const one of this.bars) {
        const { strip } = one;
        strip.choose(this.view, MOST_LANES);
        const left = strip.found - strip.present.length;
        one.toggle.textContent = (one.open ? "▾ " : "▸ ") + strip.group + " (" + strip.found + ")";
        one.toggle.setAttribute("aria-expanded", String(one.open));
        one.element.hidden = strip.found === 0;
        strip.element.hidden = !one.open || strip.present.length === 0;
        one.more.hidden = !one.open || (left === 0 && !(strip.all && strip.found > MOST_LANES));
        one.more.textContent = left ? "Show " + left + " more" : "Show fewer";
      }
    }

    // Called when the view has changed: draws at once, and requests data when it settles.
    change(start, end) {
      this.view = this.clamped(start, end);
      this.showTip(null);
      this.redraw();
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.settle(), SETTLED);
    }

    settle() {
      this.chooseRows();
      this.redraw();
      this.request();
      this.detail().catch((error) => this.say(error.message || String(error)));
      if (this.options.onRange) this.options.onRange(Math.round(this.view.start), Math.round(this.view.end));
    }

    pan(share) {
      const by = (this.view.end - this.view.start) * share;
      this.change(this.view.start + by, this.view.end + by);
    }

    // Zooms by a factor around a time, by default the middle.
    zoom(factor, around) {
      const { start, end } = this.view;
      const at = around === undefined ? (start + end) / 2 : around;
      this.change(at - (at - start) * factor, at + (end - at) * factor);
    }

    reset() {
      const full = this.full();
      this.change(full.start, full.end);
    }

    say(text) {
      this.message.textContent = text;
      this.message.hidden = !text;
    }

    // ---- Mouse, touch and keyboard ---------------------------------------------------------------------------------

    place(event) {
      const box = this.body.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    inPlot(event) {
      if (!this.outline || !this.outline.extent || event.target.closest("button")) return false;
      const { x } = this.place(event);
      return x >= this.layout.left && x <= this.layout.width;
    }

    inOverview(event) {
      return this.overview && this.overview.element.contains(event.target);
    }

    press(event) {
      if (event.button !== 0 || !this.inPlot(event)) return;
      const { x } = this.place(event);
      const overview = this.inOverview(event);
      const pans = overview || event.shiftKey || event.pointerType === "touch";
      this.drag = { x, pans, overview, view: { ...this.view }, moved: false };
    }

    // Shows the stay at a point of the overview, or centres the view there.
    choose(event, x) {
      const hit = this.hit(event);
      if (!hit) return this.jump(x);
      const [start, end] = hit.period;
      const margin = (end - start) * 0.02 + 60;
      this.change(start - margin, end + margin);
    }

    // Centres the view at a point of the overview.
    jump(x) {
      const full = this.full();
      const t = full.start + ((x - this.layout.left) / this.plotWidth()) * (full.end - full.start);
      const half = (this.view.end - this.view.start) / 2;
      this.change(t - half, t + half);
    }

    move(event) {
      if (!this.outline || !this.outline.extent) return;
      const { x } = this.place(event);
      if (this.drag) {
        this.showTip(null);
        if (!this.drag.overview) this.hover = Math.min(Math.max(x, this.layout.left), this.layout.width - this.layout.right);
        if (!this.drag.moved && Math.abs(x - this.drag.x) <= CLICK) return;
        // Not for a click: its target must be what is below the pointer.
        if (!this.drag.moved) this.body.setPointerCapture(event.pointerId);
        this.drag.moved = true;
        if (this.drag.overview) this.jump(x);
        else if (this.drag.pans) {
          const { view } = this.drag;
          const by = ((this.drag.x - x) / this.plotWidth()) * (view.end - view.start);
          this.change(view.start + by, view.end + by);
        } else this.showSelection(x);
        return;
      }
      const plot = this.inPlot(event);
      this.point(plot && !this.inOverview(event) ? x : null, plot ? event : null);
    }

    showSelection(x) {
      const { left, width, right } = this.layout;
      const inside = (value) => Math.min(Math.max(value, left), width - right);
      const [from, to] = [inside(Math.min(x, this.drag.x)), inside(Math.max(x, this.drag.x))];
      this.select.hidden = false;
      this.select.style.left = from + "px";
      this.select.style.width = to - from + "px";
    }

    release(event) {
      const { drag } = this;
      this.cancel();
      if (!drag) return;
      const { x } = this.place(event);
      if (drag.overview) {
        if (!drag.moved) this.choose(event, x);
      } else if (!drag.moved) this.click(event, x);
      else if (!drag.pans) {
        const [from, to] = [this.timeAt(Math.min(x, drag.x)), this.timeAt(Math.max(x, drag.x))];
        this.change(from, to);
      }
    }

    cancel() {
      this.drag = null;
      this.select.hidden = true;
    }

    leave() {
      if (this.drag && this.drag.moved) return;
      this.cancel();
      this.point(null, null);
    }

    wheel(event) {
      if (!this.inPlot(event)) return;
      // Without Ctrl the wheel scrolls the page, except over the time axis. A pinch on a touchpad has Ctrl.
      const overHead = event.target.closest(".tl-head") !== null;
      if (!event.ctrlKey && !event.metaKey && !overHead && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX / this.plotWidth());
      else this.zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 200), this.timeAt(this.place(event).x));
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
      const acts = {
        ArrowLeft: () => this.pan(-0.2),
        ArrowRight: () => this.pan(0.2),
        "+": () => this.zoom(0.5),
        "=": () => this.zoom(0.5),
        "-": () => this.zoom(2),
        0: () => this.reset(),
      };
      const act = acts[event.key];
      if (!act || !this.outline || !this.outline.extent) return;
      event.preventDefault();
      // A page may have the same keys for when the timeline does not have the focus.
      event.stopPropagation();
      act();
    }

    click(event, x) {
      const hit = this.hit(event);
      const time = Math.round(this.timeAt(x));
      if (hit && hit.mark && hit.mark.note) this.read(hit.marks);
      if (hit && hit.mark && this.options.onSelect) this.options.onSelect({ ...hit.mark, time: hit.mark.t });
      if (this.options.onCursor) this.options.onCursor(hit && hit.mark ? hit.mark.t : time, { pinned: true });
    }

    hit(event) {
      const strips = [this.overview, this.stays, this.marks].concat(this.bars.filter((one) => one.open).map((one) => one.strip));
      for (const strip of strips) {
        if (strip.canvas !== event.target) continue;
        const box = strip.canvas.getBoundingClientRect();
        return strip.at(event.clientX - box.left, event.clientY - box.top);
      }
      return null;
    }

    // Moves the cursor of all tracks to a place; null hides it.
    point(x, event) {
      this.hover = x;
      this.showTip(event && this.hit(event), event);
      if (this.pointing) return;
      this.pointing = requestAnimationFrame(() => {
        this.pointing = 0;
        this.placeCursor();
        if (this.options.onCursor && this.hover !== null) this.options.onCursor(Math.round(this.timeAt(this.hover)), { pinned: false });
      });
    }

    // The cursor stays below the pointer when the view changes.
    placeCursor() {
      const x = this.hover;
      const time = x === null ? null : this.timeAt(x);
      this.cursor.hidden = x === null;
      for (const chart of this.charts.values()) if (chart.visible) chart.read(time, this.view);
      if (x === null) return;
      const half = HALF_TIME + (this.layout.inline ? 4 : 0);
      const shift = Math.min(0, this.layout.width - half - x) + Math.max(0, half - x);
      this.cursor.style.left = x + "px";
      this.cursor.style.setProperty("--tl-shift", shift + "px");
      this.cursor.dataset.time = dates.moment(time);
    }

    showTip(hit, event) {
      this.tip.hidden = !hit;
      if (!hit) return;
      this.tip.replaceChildren(...hit.text.map((line) => element("div", "", line)));
      const { x, y } = this.place(event);
      const beyond = x + this.tip.offsetWidth + 24 > this.layout.width;
      this.tip.style.left = Math.max(0, beyond ? x - this.tip.offsetWidth - 12 : x + 14) + "px";
      this.tip.style.top = y + 14 + "px";
    }

    // Opens the notes of one icon. Their texts are read when they are needed.
    async read(notes) {
      if (!this.source.note) return;
      const close = element("button", "tl-button", "Close");
      close.type = "button";
      close.addEventListener("click", () => this.reader.close());
      const texts = notes.slice(0, MOST_NOTES).map((note) => ({ note, text: element("pre", "", "Reading …") }));
      const parts = texts.flatMap(({ note, text }) => {
        text.tabIndex = 0;
        return [element("h2", "", note.label + ", " + dates.moment(note.t)), text];
      });
      const left = notes.length - texts.length;
      if (left) parts.push(element("p", "", left + " more notes: zoom in to open them"));
      this.reader.setAttribute("aria-label", notes[0].label);
      this.reader.replaceChildren(...parts, close);
      this.reader.showModal();
      for (const { note, text } of texts) {
        try {
          const found = await this.source.note({ position: note.position });
          text.textContent = found.text || "This note has no text.";
        } catch (error) {
          text.textContent = error.message || String(error);
        }
      }
    }

    // ---- For the page ----------------------------------------------------------------------------------------------

    tracks() {
      return Array.from(this.charts.keys());
    }

    addTrack(code) {
      if (this.charts.has(code) || !this.outline || !this.outline.extent) return;
      const chart = this.makeChart(code);
      this.placeTracks();
      this.observe();
      chart.element.scrollIntoView({ block: "nearest" });
      this.report();
    }

    removeTrack(code) {
      const chart = this.charts.get(code);
      if (!chart) return;
      chart.drop();
      this.charts.delete(code);
      this.placeTracks();
      this.observe();
      this.report();
    }

    report() {
      if (this.options.onTracks) this.options.onTracks(this.tracks());
    }

    destroy() {
      this.stop.abort();
      clearTimeout(this.settling);
      clearTimeout(this.asking);
      cancelAnimationFrame(this.frame);
      cancelAnimationFrame(this.pointing);
      this.sizes.disconnect();
      this.seen.disconnect();
      for (const chart of this.charts.values()) chart.drop();
      this.host.replaceChildren();
    }
  }

  ehrtraj.timeline = function (host, source, options) {
    const made = new Timeline(host, source, options);
    return {
      show: (start, end) => made.outline && made.outline.extent && made.change(start, end),
      addTrack: (code) => made.addTrack(code),
      removeTrack: (code) => made.removeTrack(code),
      tracks: () => made.tracks(),
      view: () => ({ ...made.view }),
      reload: () => made.reload(),
      destroy: () => made.destroy(),
      ready: made.ready,
    };
  };
})();
