// Puts the page together: takes the data as they arrive and keeps search, filters, order, address
// and what is shown in step.
"use strict";

(() => {
  const { find, make, said, format, address } = dreambatch;
  // Marks of the Performance timeline: there is something to see, and all data are here.
  const SHOWN = "shown";
  const LOADED = "loaded";
  let head;
  let table;
  let grid;
  let filters;
  let detail;
  let unmade;
  let rows = [];
  let conditions = new Map();
  let isComplete = false;

  dreambatch.media = (assetId, suffix) => `media/x${assetId.slice(0, 2)}/${assetId}.${suffix}`;

  dreambatch.on("start", (given, first) => {
    head = given;
    table = new dreambatch.Table(head.columns);
    table.append(first);
    conditions = address.conditions(head.columns);
    unmade = new dreambatch.Unmade(find("unmade"));
    unmade.take([], head);
    grid = new dreambatch.Grid(find("grid"), (row) => dreambatch.card(table, row, open));
    filters = new dreambatch.Filters(find("filters"), table, conditions, changed);
    detail = new dreambatch.Detail(table, {
      onClose: () => address.write({ asset: "" }),
      onStep: (assetId) => { address.write({ asset: assetId }); follow(); },
    });
    dreambatch.showHead(head);
    dreambatch.sorts.show(table);
    find("query").value = address.read("q");
    listen();
    update();
    performance.mark(SHOWN);
    follow();
    loadRest();
  });

  dreambatch.on("rows", (number, arrays) => {
    // Chunks are asked for one after the other, so they come in order.
    table.append(arrays);
  });

  dreambatch.on("unmade", (items) => { unmade.take(items, head); update(); });

  async function loadRest() {
    for (const name of head.chunks) {
      if (!await dreambatch.load(name)) return stale();
    }
    isComplete = true;
    filters.build();
    dreambatch.sorts.show(table);
    update();
    follow();
    if (head.unmade && !await dreambatch.load(head.unmade)) return stale();
    performance.mark(LOADED);
    return undefined;
  }

  function stale() {
    find("trouble").textContent =
      "Not all assets could be loaded. Was the gallery written anew meanwhile? Reload the page.";
    find("trouble").hidden = false;
  }

  function listen() {
    let typing;
    find("query").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { address.write({ q: find("query").value }); update(); }, 80);
    });
    find("sort").addEventListener("change", () => {
      address.write({ sort: dreambatch.sorts.chosen().isNewest ? "" : find("sort").value });
      update();
    });
    find("show-assets").addEventListener("click", () => { address.write({ view: "" }); update(); });
    find("show-unmade").addEventListener("click", () => {
      address.write({ view: "unmade" });
      update();
    });
    find("toggle-filters").addEventListener("click", () => {
      const isOpen = document.body.classList.toggle("filtering");
      find("toggle-filters").setAttribute("aria-expanded", String(isOpen));
    });
    addEventListener("popstate", follow);
    addEventListener("hashchange", follow);
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.matches("input, select") || find("detail").open) return;
      event.preventDefault();
      find("query").focus();
    });
  }

  function changed() {
    address.writeConditions(head.columns, conditions);
    update();
  }

  // Brings everything up to date with search, filters and order.
  function update() {
    const query = find("query").value;
    const isUnmade = address.read("view") === "unmade";
    find("show-assets").setAttribute("aria-pressed", String(!isUnmade));
    find("show-unmade").setAttribute("aria-pressed", String(isUnmade));
    document.body.classList.toggle("unmade-shown", isUnmade);
    find("grid").hidden = isUnmade;
    find("unmade").hidden = !isUnmade;
    if (isUnmade) {
      unmade.search(query);
      find("found").textContent = `${format.count(unmade.found.length)} prompts were not made`;
      find("chips").replaceChildren();
      return;
    }
    const selected = dreambatch.selection.select(table, query, conditions);
    const { name, isDown, isNewest } = dreambatch.sorts.chosen();
    // They arrive newest first.
    rows = isNewest ? selected.rows : dreambatch.selection.order(table, selected.rows, {
      index: table.byName.get(name), isDown,
    });
    filters.showCounts(selected.counts);
    grid.show(rows);
    showFound();
  }

  function showFound() {
    const isAll = rows.length === head.shown;
    let text = isAll ? `${format.count(rows.length)} ${rows.length === 1 ? "asset" : "assets"}`
      : `${format.count(rows.length)} of ${format.count(head.shown)} assets`;
    if (head.shown < head.committed) text += `, of ${format.count(head.committed)} in the dataset`;
    if (!isComplete) text += ", loading the others";
    if (!head.shown) text = "No assets yet";
    find("found").textContent = text;
    const chips = [...conditions.keys()].map((index) => {
      const chip = make("button", { type: "button", class: "chip", title: "Remove this filter" },
        said("span", "", filters.describe(index)), make("span", { "aria-hidden": "true" }, "×"));
      chip.addEventListener("click", () => { conditions.delete(index); filters.build(); changed(); });
      return chip;
    });
    find("chips").replaceChildren(...chips);
  }

  function open(assetId) {
    address.write({ asset: assetId }, true);
    follow();
  }

  // Opens the asset that the address names, or closes it.
  function follow() {
    const assetId = address.read("asset");
    if (!assetId) return detail.close();
    const row = table.find(assetId);
    if (row !== undefined) return detail.open(row, rows);
    if (isComplete) address.write({ asset: "" });
    return undefined;
  }
})();
