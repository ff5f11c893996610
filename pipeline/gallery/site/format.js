// Numbers, moments and sizes in words that people read.
"use strict";

dreambatch.format = (() => {
  const NOTHING = "–";
  const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const moment = new Intl.DateTimeFormat("en-GB", {
    dateStyle: "medium", timeStyle: "short", timeZone: "UTC",
  });

  const count = (value) => whole.format(value);

  function seconds(value) {
    if (value < 60) return `${plain.format(value)} s`;
    const minutes = Math.round(value / 60);
    if (minutes < 60) return `${minutes} min`;
    if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    return `${count(minutes / 60)} h`;
  }

  function bytes(value) {
    const units = ["B", "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
    return `${new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(value)} ${units[unit]}`;
  }

  function number(value, unit) {
    const size = Number(value);
    if (!Number.isFinite(size)) return String(value);
    if (unit === "s") return seconds(size);
    if (unit === "B") return bytes(size);
    // A seed is a name: all its digits, no commas.
    if (typeof value === "string") return value;
    if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? count(value) : String(value);
    return Math.abs(value) >= 1e-4 ? plain.format(value) : value.toPrecision(3);
  }

  const time = (value) => `${moment.format(new Date(value * 1000))} UTC`;

  // The value of one column as text.
  function shown(column, value) {
    if (value === null || value === "") return NOTHING;
    if (column.kind === "choice") return column.values[value];
    if (column.kind === "number") return number(value, column.unit);
    if (column.kind === "time") return time(value);
    return value;
  }

  return { NOTHING, count, seconds, number, time, shown };
})();
