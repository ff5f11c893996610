// What the grid shows of an asset.
"use strict";

dreambatch.card = (() => {
  const { make, said } = dreambatch;

  // The card of an asset; `open(assetId)` is called when it is clicked.
  function card(table, row, open) {
    const assetId = table.value(row, "asset_id");
    const image = make("img", {
      src: dreambatch.media(assetId, dreambatch.prefersStill() ? "png" : "webp"),
      alt: "", decoding: "async", loading: "lazy", draggable: false,
    });
    image.addEventListener("error", () => image.replaceWith(
      make("span", { class: "missing" }, "The picture is not there")));
    const link = make("a", { href: `#asset=${assetId}` },
      make("span", { class: "plate" }, image),
      said("span", "prompt", table.value(row, "prompt")),
      make("span", { class: "under" }, ...under(table, row)));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      open(assetId);
    });
    return make("div", { class: "card" }, link);
  }

  // The line under a prompt: what is unusual, then what it is sorted by or the manifest's word.
  function under(table, row) {
    const { format, sorts } = dreambatch;
    const parts = [];
    const shown = (name) => format.shown(table.columns[table.byName.get(name)], table.value(row, name));
    if (shown("status") !== "ok") parts.push(make("span", { class: "flag" }, shown("status")));
    if (shown("mesh_status") !== "ok") {
      parts.push(make("span", { class: "flag" }, `${shown("mesh_status")} mesh`));
    }
    const sorted = sorts.chosen().name;
    const yours = table.columns.find((column) => column.group === "yours");
    const isPlain = ["created_at", "prompt"].includes(sorted);
    const column = isPlain ? yours : table.columns[table.byName.get(sorted)];
    if (column && shown(column.name) !== format.NOTHING) {
      const label = isPlain ? "" : `${column.label} `;
      parts.push(said("span", "", label + shown(column.name)));
    }
    return parts;
  }

  return card;
})();
