// The state of the page in its address, behind the #, so that what one sees can be sent along:
//
//   q      the search              sort   <column>:up or :down
//   asset  the opened asset        view   "unmade" for the other tab
//   f      a filter: [column, condition] as JSON, any number of them; choices by their texts
"use strict";

dreambatch.address = (() => {
  const parameters = () => new URLSearchParams(location.hash.slice(1));

  function toWire(column, condition) {
    if (column.kind !== "choice") return condition;
    return { chosen: [...condition.chosen].map((code) => (code === null ? null : column.values[code])) };
  }

  function fromWire(column, wire) {
    if (column.kind === "text") return typeof wire.contains === "string" ? wire : null;
    if (column.kind !== "choice") {
      const bounds = { from: wire.from ?? null, to: wire.to ?? null };
      const given = Object.values(bounds).filter((bound) => bound !== null);
      return given.length && given.every(Number.isFinite) ? bounds : null;
    }
    const codes = wire.chosen.map((text) => (text === null ? null : column.values.indexOf(text)));
    const chosen = new Set(codes.filter((code) => code !== -1));
    return chosen.size ? { chosen } : null;
  }

  // The filters that the address asks for, by the index of their column; what makes no sense is
  // left out, since anybody may have written it.
  function conditions(columns) {
    const found = new Map();
    for (const text of parameters().getAll("f")) {
      try {
        const [name, wire] = JSON.parse(text);
        const index = columns.findIndex((column) => column.name === name);
        const condition = index < 0 ? null : fromWire(columns[index], wire);
        if (condition) found.set(index, condition);
      } catch (error) {
        if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      }
    }
    return found;
  }

  const read = (name) => parameters().get(name) ?? "";

  // `isStep`: one can go back from here.
  function write(changes, isStep = false) {
    const next = parameters();
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const text of [value].flat()) if (text) next.append(name, text);
    }
    const hash = `#${next}`;
    if (hash === (location.hash || "#")) return;
    history[isStep ? "pushState" : "replaceState"](null, "", hash);
  }

  function writeConditions(columns, conditions) {
    write({
      f: [...conditions].map(([index, condition]) =>
        JSON.stringify([columns[index].name, toWire(columns[index], condition)])),
    });
  }

  return { read, write, conditions, writeConditions };
})();
