// The orders in which assets can be shown: `<column>:up` or `<column>:down`.
"use strict";

dreambatch.sorts = (() => {
  const { find, make, address } = dreambatch;
  const NEWEST = "created_at:down";

  // Offers the columns in which the assets differ, and chooses what the address asks for.
  function show(table) {
    const at = (name) => table.byName.get(name);
    const option = (text, index, isDown) =>
      make("option", { value: `${table.columns[index].name}:${isDown ? "down" : "up"}` }, text);
    const options = [
      option("Newest", at("created_at"), true), option("Oldest", at("created_at"), false),
      option("Prompt, A to Z", at("prompt"), false),
    ];
    const groups = [["scores", "Scores"], ["yours", "From the manifest"], ["making", "Making"],
      ["mesh", "Mesh"]];
    for (const [group, title] of groups) {
      const entries = table.columns.flatMap((column, index) => {
        const differs = table.arrays[index].some((x) => x !== table.arrays[index][0]);
        if (column.group !== group || !differs || column.name === "created_at") return [];
        if (column.name.startsWith("bbox_")) return [];
        const [up, down] = column.kind === "number" ? ["lowest", "highest"]
          : column.kind === "time" ? ["oldest", "newest"] : ["A to Z", "Z to A"];
        return [option(`${column.label}, ${down} first`, index, true),
          option(`${column.label}, ${up} first`, index, false)];
      });
      if (entries.length) options.push(make("optgroup", { label: title }, ...entries));
    }
    const wanted = address.read("sort") || NEWEST;
    find("sort").replaceChildren(...options);
    find("sort").value = wanted;
    if (find("sort").selectedIndex < 0) find("sort").selectedIndex = 0;
  }

  // What is chosen: name of the column and direction. A column's name may have colons in it.
  function chosen() {
    const [name, direction] = find("sort").value.split(/:(?=[^:]*$)/);
    return { name, isDown: direction === "down", isNewest: find("sort").value === NEWEST };
  }

  return { show, chosen };
})();
