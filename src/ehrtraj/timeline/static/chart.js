// One series: a uPlot chart that exists only while it is visible, so that a page can have hundreds of tracks.
(function () {
  "use strict";
  const ehrtraj = (globalThis.ehrtraj = globalThis.ehrtraj || {});
  const { element, readable } = ehrtraj.strips;
  const HEIGHT = 96;
  const NEAR = 40; // Pixels between the cursor and the point whose value is shown.

  function number(value) {
    const size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  }

  // Position of the first time that is not before `t`.
  function search(times, t) {
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  class Chart {
    constructor(shared, spec, color, remove) {
      this.shared = shared;
      this.spec = spec;
      this.code = spec.code;
      this.color = color;
      this.levels = {}; // `all`: the complete record, `detail`: the view and its surroundings.
      this.asked = {}; // Periods of levels that are requested.
      this.refused = false; // Whether the source has no such series.
      this.visible = false;
      this.empty = false;
      this.plot = null;
      this.element = element("div", "tl-track");
      this.label = element("div", "tl-label");
      this.title = element("div", "tl-title", spec.label);
      this.about = [spec.label + " (" + spec.code + ")"].concat(spec.meaning || []);
      this.title.title = this.about.join("\n");
      this.unit = element("span", "tl-unit", readable(spec.unit || ""));
      this.value = element("span", "tl-value");
      const line = element("div", "tl-facts");
      line.append(this.unit, this.value);
      const button = element("button", "tl-remove", "×");
      button.type = "button";
      button.setAttribute("aria-label", "Remove " + spec.label);
      button.addEventListener("click", () => remove(spec.code));
      this.label.append(this.title, line, button);
      this.host = element("div", "tl-plot");
      this.host.setAttribute("role", "img");
      this.host.setAttribute("aria-label", spec.label);
      this.host.style.height = HEIGHT + "px";
      this.element.append(this.label, this.host);
    }

    // Receives the points of one level: those of the complete record or of a part.
    receive(level, found, period) {
      const points = found.v.reduce((sum, value) => sum + (value !== null), 0);
      this.levels[level] = { data: [found.t, found.v], period, range: [found.low, found.high], complete: points >= found.n };
      this.shown = null;
      const n = this.spec.n || found.n;
      this.host.setAttribute("aria-label", this.spec.label + ": " + n + " values in " + readable(found.unit || "no unit") + ". The events are listed in the table of events");
      if (found.unit && !this.unit.textContent) this.unit.textContent = readable(found.unit);
      const flagged = Object.entries(found.flags || {}).map(([name, at]) => name + ": " + at.length);
      this.title.title = this.about.concat(flagged.length ? ["Flags: " + flagged.join(", ")] : []).join("\n");
    }

    // The level with the most detail that covers the view; else the one that covers more.
    level(view) {
      const { detail, all } = this.levels;
      if (detail && detail.period[0] <= view.start && detail.period[1] >= view.end) return detail;
      return all || detail || null;
    }

    // Makes the row small if there is no value in a view. It is called when the view settles.
    choose(view) {
      const level = this.level(view);
      const empty = level !== null && !hasValue(level.data, view);
      if (empty === this.empty) return;
      this.empty = empty;
      this.element.classList.toggle("tl-empty", empty);
      this.host.style.height = empty ? "" : HEIGHT + "px";
      this.drop();
    }

    paint(view) {
      const level = this.level(view);
      if (!this.visible || !level || this.empty) return;
      const { layout } = this.shared;
      const width = layout.width - layout.left + layout.axis;
      if (!this.plot) {
        this.shown = level;
        this.plot = this.make(width, level.data, view);
      }
      const plot = this.plot;
      if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
      if (this.shown !== level) {
        this.shown = level;
        plot.setData(level.data, false);
      }
      plot.setScale("x", { min: view.start, max: view.end });
    }

    make(width, data, view) {
      const { colors, layout, font } = this.shared;
      const stepped = this.code.startsWith("CONCEPT//");
      let shown = [0, 0];
      const options = {
        width,
        height: HEIGHT,
        padding: [8, layout.right, 8, 0],
        legend: { show: false },
        cursor: { show: false },
        select: { show: false },
        tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
        scales: { x: { time: false, min: view.start, max: view.end }, y: { range: (_, min, max) => this.span(min, max) } },
        axes: [
          { show: false },
          {
            size: layout.axis,
            font,
            stroke: colors.muted,
            gap: 6,
            space: 26,
            grid: { stroke: colors.grid, width: 1 },
            ticks: { show: false },
            values: (_, splits) => splits.map((one) => (one === null ? null : number(one))),
          },
        ],
        series: [
          {},
          {
            stroke: this.color,
            width: 1.4,
            paths: stepped ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear(),
            points: {
              size: 4,
              fill: this.color,
              show: (_plot, _, first, last) => {
                shown = [first, last];
                return last - first < this.shared.plotWidth() / 9;
              },
              filter: (plot, _, all) => (all ? null : lonely(plot.data[1], shown[0], shown[1])),
            },
          },
        ],
        hooks: { drawClear: [(plot) => this.background(plot)] },
      };
      return new uPlot(options, data, this.host);
    }

    // Limits of the value axis. They include the reference range, unless the values would be small then.
    span(min, max) {
      if (min === null || max === null) return [0, 1];
      const size = max - min || Math.abs(max) * 0.1 || 1;
      const [low, high] = this.shown ? this.shown.range : [null, null];
      if (low !== null && low < min && min - low < size) min = low;
      if (high !== null && high > max && high - max < size) max = high;
      const more = (max - min) * 0.08 || Math.abs(max) * 0.05 || 1;
      return [min - more, max + more];
    }

    // Reference range, intensive care and the lines of the time axis, below the series.
    background(plot) {
      const { colors, outline } = this.shared;
      const { left, top, width, height } = plot.bbox;
      const context = plot.ctx;
      const x = (t) => plot.valToPos(t, "x", true);
      const view = { start: plot.scales.x.min, end: plot.scales.x.max };
      context.save();
      context.beginPath();
      context.rect(left, top, width, height);
      context.clip();
      const [low, high] = this.shown ? this.shown.range : [null, null];
      if (low !== null || high !== null) {
        const upper = high === null ? top : plot.valToPos(high, "y", true);
        const lower = low === null ? top + height : plot.valToPos(low, "y", true);
        context.fillStyle = colors.range;
        context.fillRect(left, upper, width, lower - upper);
      }
      context.fillStyle = colors.grid;
      for (const { t } of this.shared.ticks(view).minor) context.fillRect(Math.round(x(t)), top, 1, height);
      context.fillStyle = colors.bands.icu_stay;
      context.globalAlpha = 0.08;
      for (const stay of outline.stays) {
        if (stay.kind !== "icu_stay") continue;
        const [from, to] = [x(stay.start), x(this.shared.endOf(stay.end))];
        context.fillRect(from, top, to - from, height);
      }
      context.restore();
    }

    // Shows the value of the point that is nearest to a time; nothing if none is near.
    read(time, view) {
      const level = this.level(view);
      if (time === null || !level) {
        this.value.textContent = "";
        return;
      }
      const [times, values] = level.data;
      const most = (NEAR * (view.end - view.start)) / this.shared.plotWidth();
      const middle = search(times, time);
      let best = -1;
      for (let at = Math.max(0, middle - 2); at < Math.min(times.length, middle + 2); at++) {
        const distance = Math.abs(times[at] - time);
        if (values[at] !== null && distance <= most && (best < 0 || distance < Math.abs(times[best] - time))) best = at;
      }
      this.value.textContent = best < 0 ? "" : number(values[best]);
    }

    show(visible) {
      this.visible = visible;
      if (!visible) this.drop();
    }

    // Frees the canvas.
    drop() {
      if (this.plot) this.plot.destroy();
      this.plot = null;
      this.shown = null;
    }
  }

  function hasValue([times, values], view) {
    for (let at = search(times, view.start); at < times.length && times[at] <= view.end; at++) if (values[at] !== null) return true;
    return false;
  }

  // Points without a neighbour, of which no line is drawn.
  function lonely(values, first, last) {
    const found = [];
    for (let at = first; at <= last; at++) {
      const alone = (at === 0 || values[at - 1] === null) && (at + 1 >= values.length || values[at + 1] === null);
      if (values[at] !== null && alone) found.push(at);
    }
    return found;
  }

  ehrtraj.chart = { Chart, number, search };
})();
