// The filters, made from the kinds of the columns: choose, contains, from and to.
"use strict";

dreambatch.Filters = class Filters {
  static GROUPS = [["scores", "Scores"], ["yours", "From the manifest"], ["asset", "Asset"]];
  static BARS = 28;

  // `onChange()` is told of each change of `conditions`.
  constructor(element, table, conditions, onChange) {
    Object.assign(this, { element, table, conditions, onChange });
    this.counters = new Map(); // by column: what shows the counts of its choices
  }

  // Filters for all columns in which the assets differ; called when all have arrived.
  build() {
    const { make } = dreambatch;
    const useful = this.table.columns
      .map((column, index) => ({ column, index }))
      .filter(({ column, index }) => column.group !== "names" && column.name !== "prompt"
        && this.#differs(column, index)); // for names there is the search
    const main = Filters.GROUPS.flatMap(([group, title]) => {
      const fields = useful.filter(({ column }) => Filters.#group(column) === group);
      return fields.length ? [this.#section(title, fields)] : [];
    });
    const rest = useful.filter(({ column }) => Filters.#group(column) === "rest");
    const more = make("details", { class: "more" },
      make("summary", {}, "More filters"), this.#section("", rest));
    more.open = rest.some(({ index }) => this.conditions.has(index));
    this.element.replaceChildren(...main, ...(rest.length ? [more] : []));
  }

  // Among the many columns of an asset itself, those by which people choose.
  static #group(column) {
    if (column.group === "scores" || column.group === "yours") return column.group;
    const isAsset = column.kind === "choice" && column.name !== "device" || column.name === "created_at";
    return isAsset ? "asset" : "rest";
  }

  showCounts(counts) {
    for (const [index, counters] of this.counters) {
      for (const [value, { label, number }] of counters) {
        const count = counts.get(index)?.get(value) ?? 0;
        number.textContent = dreambatch.format.count(count);
        label.classList.toggle("none", count === 0);
      }
    }
  }

  // A condition in words.
  describe(index) {
    const column = this.table.columns[index];
    const condition = this.conditions.get(index);
    const { format } = dreambatch;
    if (column.kind === "text") return `${column.label} contains “${condition.contains}”`;
    if (column.kind === "choice") {
      const values = [...condition.chosen].map((x) => (x === null ? "not given" : column.values[x]));
      return `${column.label}: ${values.join(", ")}`;
    }
    const bound = (value) => format.shown(column, value);
    if (condition.to === null) return `${column.label} from ${bound(condition.from)}`;
    if (condition.from === null) return `${column.label} up to ${bound(condition.to)}`;
    return `${column.label} ${bound(condition.from)} to ${bound(condition.to)}`;
  }

  #differs(column, index) {
    const values = this.table.arrays[index];
    // A moment is chosen by the day.
    const coarse = (value) => (column.kind === "time" && value !== null ? Math.floor(value / 86400) : value);
    return values.length > 1 && values.some((value) => coarse(value) !== coarse(values[0]));
  }

  #section(title, fields) {
    const { make } = dreambatch;
    const heading = title ? [make("h2", {}, title)] : [];
    const parts = fields.map(({ column, index }) => {
      const field = make("fieldset", {}, dreambatch.said("legend", "", column.label));
      if (column.kind === "choice") field.append(this.#choice(column, index));
      else if (column.kind === "text") field.append(this.#contains(column, index));
      else field.append(...this.#range(column, index));
      return field;
    });
    return make("section", {}, ...heading, ...parts);
  }

  #set(index, condition) {
    if (condition === null) this.conditions.delete(index);
    else this.conditions.set(index, condition);
    this.onChange();
  }

  #choice(column, index) {
    const { make, said } = dreambatch;
    const present = new Set(this.table.arrays[index]);
    const codes = [...column.values.keys()].filter((code) => present.has(code));
    if (present.has(null)) codes.push(null);
    const chosen = this.conditions.get(index)?.chosen ?? new Set();
    const counters = new Map();
    const labels = codes.map((code) => {
      const box = make("input", { type: "checkbox", checked: chosen.has(code) });
      box.addEventListener("change", () => {
        const now = new Set(this.conditions.get(index)?.chosen ?? []);
        if (box.checked) now.add(code);
        else now.delete(code);
        this.#set(index, now.size ? { chosen: now } : null);
      });
      const number = make("span", { class: "number" });
      const text = code === null ? "not given" : column.values[code] || "empty";
      const label = make("label", { class: "choice" }, box, said("span", "", text), number);
      counters.set(code, { label, number });
      return label;
    });
    this.counters.set(index, counters);
    return make("div", { class: "choices" }, ...labels);
  }

  #contains(column, index) {
    const input = dreambatch.make("input", {
      type: "search", placeholder: "contains", value: this.conditions.get(index)?.contains ?? "",
      "aria-label": `${column.label} contains`, autocomplete: "off",
    });
    input.addEventListener("input", () => {
      this.#set(index, input.value ? { contains: input.value } : null);
    });
    return input;
  }

  #range(column, index) {
    const { make } = dreambatch;
    const isTime = column.kind === "time";
    const values = this.table.arrays[index]
      .filter((value) => value !== null).map(Number).filter(Number.isFinite);
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const bars = this.#bars(values, low, high);
    const show = () => this.#mark(bars, low, high, this.conditions.get(index));
    const inputs = ["from", "to"].map((end) => {
      const input = make("input", {
        type: isTime ? "date" : "text", inputMode: "decimal", autocomplete: "off",
        placeholder: isTime ? "" : String(end === "from" ? low : high),
        "aria-label": `${column.label} ${end}`,
      });
      const bound = this.conditions.get(index)?.[end] ?? null;
      if (bound !== null) {
        input.value = isTime ? new Date(bound * 1000).toISOString().slice(0, 10) : String(bound);
      }
      input.addEventListener("change", () => {
        const condition = { from: null, to: null, ...this.conditions.get(index) };
        condition[end] = Filters.#bound(input, end, isTime);
        input.setAttribute("aria-invalid", String(input.value !== "" && condition[end] === null));
        this.#set(index, condition.from === null && condition.to === null ? null : condition);
        show();
      });
      return input;
    });
    show();
    const range = make("div", { class: isTime ? "range days" : "range" });
    range.append(inputs[0], make("span", {}, "to"), inputs[1]);
    return [bars, range];
  }

  // What a person wrote as a number, null for nothing and for what is none. A day is meant whole.
  static #bound(input, end, isTime) {
    if (input.value.trim() === "") return null;
    if (isTime) {
      const start = Date.parse(`${input.value}T00:00:00Z`) / 1000;
      return Number.isNaN(start) ? null : start + (end === "to" ? 86399.999 : 0);
    }
    const value = Number(input.value.trim().replace(",", "."));
    return Number.isNaN(value) ? null : value;
  }

  // How the values are spread: decoration, so it says nothing to a screen reader.
  #bars(values, low, high) {
    const counts = new Array(Filters.BARS).fill(0);
    for (const value of values) {
      const place = Math.floor(((value - low) / (high - low || 1)) * Filters.BARS);
      counts[Math.min(Filters.BARS - 1, place)] += 1;
    }
    const most = Math.max(...counts);
    const bars = counts.map((count) => {
      const bar = dreambatch.make("span");
      // Few are still to be seen beside many.
      bar.style.height = count ? `${8 + 92 * Math.sqrt(count / most)}%` : "0";
      return bar;
    });
    return dreambatch.make("div", { class: "bars", "aria-hidden": "true" }, ...bars);
  }

  #mark(bars, low, high, condition) {
    const width = (high - low) / Filters.BARS;
    [...bars.children].forEach((bar, place) => {
      const [start, end] = [low + place * width, low + (place + 1) * width];
      const isOut = condition &&
        (end < (condition.from ?? -Infinity) || start > (condition.to ?? Infinity));
      bar.classList.toggle("out", Boolean(isOut));
    });
  }
};
