// Which assets are shown, and in which order.
//
// A condition is, by the kind of its column:
//   text    {contains}          choice  {chosen: Set of codes, null among them}
//   number  {from, to}          time    {from, to}, seconds since 1970; null is no bound
"use strict";

dreambatch.selection = (() => {
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  // A test of one value of a column.
  function test(column, condition) {
    if (column.kind === "choice") return (value) => condition.chosen.has(value);
    if (column.kind === "text") {
      const part = dreambatch.Table.folded(condition.contains);
      return (value) => value !== null && dreambatch.Table.folded(value).includes(part);
    }
    const from = condition.from ?? -Infinity;
    const to = condition.to ?? Infinity;
    return (value) => value !== null && Number(value) >= from && Number(value) <= to;
  }

  // Rows that pass, and for each choice column how many rows each value would leave, if all other
  // conditions stay: a row that one condition alone stops still counts for that one's column.
  function select(table, query, conditions) {
    const words = dreambatch.Table.folded(query).split(/\s+/).filter(Boolean);
    const tests = [...conditions].map(([index, condition]) => ({
      index, values: table.arrays[index], passes: test(table.columns[index], condition),
    }));
    const choices = table.columns
      .map((column, index) => ({ column, index }))
      .filter(({ column }) => column.kind === "choice");
    const counts = new Map(choices.map(({ index }) => [index, new Map()]));
    const rows = [];
    for (let row = 0; row < table.size; row += 1) {
      if (!words.every((word) => table.texts[row].includes(word))) continue;
      let stopped = -1;
      let stops = 0;
      for (const { index, values, passes } of tests) {
        if (passes(values[row])) continue;
        stopped = index;
        stops += 1;
        if (stops > 1) break;
      }
      if (stops > 1) continue;
      if (stops === 0) rows.push(row);
      for (const { index } of choices) {
        if (stops === 1 && index !== stopped) continue;
        const counted = counts.get(index);
        const value = table.arrays[index][row];
        counted.set(value, (counted.get(value) ?? 0) + 1);
      }
    }
    return { rows, counts };
  }

  // Orders rows in place; what has no value comes last, and equals stay newest first.
  function order(table, rows, { index, isDown }) {
    const column = table.columns[index];
    const values = table.arrays[index];
    const sign = isDown ? -1 : 1;
    const asText = (value) => (column.kind === "choice" ? column.values[value] : value);
    const compare = column.kind === "text" || column.kind === "choice"
      ? (a, b) => collator.compare(asText(a), asText(b))
      : (a, b) => Number(a) - Number(b);
    const isNothing = (value) => value === null || Number.isNaN(Number(value)) && column.kind === "number";
    rows.sort((a, b) => {
      const [left, right] = [values[a], values[b]];
      const [noLeft, noRight] = [isNothing(left), isNothing(right)];
      if (noLeft || noRight) return noLeft - noRight || a - b;
      return sign * compare(left, right) || a - b;
    });
    return rows;
  }

  return { select, order };
})();
