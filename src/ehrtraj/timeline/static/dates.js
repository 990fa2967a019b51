// Ticks and texts of a time axis. Times are whole seconds of the patient's shifted time, which has no time zone:
// everything is computed in UTC, so that the browser's zone has no influence.
(function () {
  "use strict";
  const ehrtraj = (globalThis.ehrtraj = globalThis.ehrtraj || {});
  const MINUTE = 60;
  const HOUR = 3600;
  const DAY = 86400;
  const STEPS = [1, 5, 15, 30].map((n) => n * MINUTE).concat([1, 3, 6, 12].map((n) => n * HOUR), [1, 2, 7].map((n) => n * DAY));
  const MONTHS = [1, 3, 6, 12, 24, 60, 120, 240, 600];
  const NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

  const date = (t) => new Date(t * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const day = (t) => date(t).toISOString().slice(0, 10);
  const clock = (t) => two(date(t).getUTCHours()) + ":" + two(date(t).getUTCMinutes());
  const month = (t) => NAMES[date(t).getUTCMonth()];
  const year = (t) => String(date(t).getUTCFullYear());

  function* every(step, start, end) {
    for (let t = Math.ceil(start / step) * step; t <= end; t += step) yield t;
  }

  function* everyMonth(months, start, end) {
    const from = date(start);
    let at = from.getUTCFullYear() * 12 + from.getUTCMonth();
    at = Math.floor(at / months) * months;
    for (; ; at += months) {
      const t = Date.UTC(Math.floor(at / 12), at % 12, 1) / 1000;
      if (t > end) return;
      if (t >= start) yield t;
    }
  }

  // Returns {minor, major}: lists of {t, text}. A major entry names the day, month or year that begins there.
  function ticks(start, end, most) {
    const span = Math.max(end - start, 1);
    const step = STEPS.find((one) => span / one <= most);
    if (step) {
      const within = step < DAY;
      const minor = Array.from(every(step, start, end), (t) => ({ t, text: within ? clock(t) : String(date(t).getUTCDate()) }));
      const major = within ? every(DAY, start - DAY, end) : everyMonth(1, start - 31 * DAY, end);
      return { minor, major: Array.from(major, (t) => ({ t, text: within ? day(t) : month(t) + " " + year(t) })) };
    }
    const months = MONTHS.find((one) => span / (one * 30.4 * DAY) <= most) || MONTHS[MONTHS.length - 1];
    const ofYears = months >= 12;
    const minor = Array.from(everyMonth(months, start, end), (t) => ({ t, text: ofYears ? year(t) : month(t) }));
    const major = ofYears ? [] : Array.from(everyMonth(12, start - 366 * DAY, end), (t) => ({ t, text: year(t) }));
    return { minor, major };
  }

  function duration(seconds) {
    if (seconds < HOUR) return Math.round(seconds / MINUTE) + " min";
    if (seconds < 2 * DAY) return (seconds / HOUR).toFixed(seconds < 10 * HOUR ? 1 : 0).replace(/\.0$/, "") + " h";
    if (seconds < 730 * DAY) return (seconds / DAY).toFixed(seconds < 10 * DAY ? 1 : 0).replace(/\.0$/, "") + " days";
    return (seconds / (365.25 * DAY)).toFixed(1).replace(/\.0$/, "") + " years";
  }

  ehrtraj.dates = { ticks, day, clock, duration, moment: (t) => day(t) + " " + clock(t) };
})();
