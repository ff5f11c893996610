// One asset, opened: its mesh in 3D and everything that is known of it.
"use strict";

dreambatch.Detail = class Detail {
  static GROUPS = [
    ["scores", "Scores"], ["yours", "From the manifest"], ["request", "Request"],
    ["mesh", "Mesh"], ["making", "Making"], ["names", "Names"],
  ];

  // `onClose()`, and `onStep(assetId)` where the neighbour is asked for.
  constructor(table, { onClose, onStep }) {
    Object.assign(this, { table, onStep });
    this.dialog = dreambatch.find("detail");
    this.meshes = null;
    this.assetId = null;
    this.viewer = null;
    this.dialog.addEventListener("close", () => { this.#clear(); onClose(); });
    dreambatch.on("mesh", (assetId, text) => this.#arrived(assetId, text));
    this.#tools();
  }

  // Opens an asset, or goes on to it. `rows` are those among which one steps.
  open(row, rows) {
    const { find } = dreambatch;
    const assetId = this.table.value(row, "asset_id");
    const place = rows.indexOf(row);
    this.neighbours = [rows[place - 1], place < 0 ? undefined : rows[place + 1]];
    find("previous").disabled = this.neighbours[0] === undefined;
    find("next").disabled = this.neighbours[1] === undefined;
    const { count } = dreambatch.format;
    find("place").textContent = place < 0 ? "" : `${count(place + 1)} of ${count(rows.length)}`;
    find("detail-prompt").textContent = this.table.value(row, "prompt");
    find("facets").replaceChildren(...this.#facts(row));
    find("panel").scrollTop = 0;
    if (!this.dialog.open) this.dialog.showModal();
    if (this.assetId !== assetId) this.#load(row, assetId);
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  async #load(row, assetId) {
    const { find } = dreambatch;
    this.#clear();
    this.assetId = assetId;
    const poster = find("poster");
    poster.src = dreambatch.media(assetId, dreambatch.prefersStill() ? "png" : "webp");
    poster.hidden = false;
    this.#note("Loading the mesh…");
    const isThere = await dreambatch.load(dreambatch.media(assetId, "js"));
    if (!isThere && this.assetId === assetId) {
      this.#note("The mesh cannot be read. Is the page still where it was written?");
    }
  }

  // A script of media has brought a mesh; null: the asset has none.
  async #arrived(assetId, text) {
    if (assetId !== this.assetId) return;
    if (text === null) {
      this.#note("This asset has no mesh: its field has no surface.");
      return;
    }
    const { find, glb } = dreambatch;
    const bytes = glb.decode(text);
    try {
      this.viewer ??= this.#newViewer();
      await this.viewer.show(glb.parse(bytes.buffer));
    } catch (error) {
      this.#note(`The mesh cannot be shown: ${error.message}`);
      return;
    }
    if (assetId !== this.assetId) return;
    const save = find("save");
    save.href = URL.createObjectURL(new Blob([bytes], { type: "model/gltf-binary" }));
    save.download = `${assetId}.glb`;
    find("stage").classList.add("ready");
    find("poster").hidden = true;
    this.#note("");
    this.#turn(!dreambatch.prefersStill());
  }

  #newViewer() {
    const canvas = dreambatch.find("canvas");
    const viewer = new dreambatch.Viewer(canvas);
    dreambatch.controls(viewer, () => this.#turn(false));
    canvas.addEventListener("webglcontextlost", () => {
      this.#note("The browser took the graphics memory away: reload the page.");
    });
    return viewer;
  }

  #clear() {
    const { find } = dreambatch;
    this.assetId = null;
    this.#turn(false);
    this.viewer?.clear();
    const save = find("save");
    if (save.href) URL.revokeObjectURL(save.href);
    save.removeAttribute("href");
    find("stage").classList.remove("ready");
    find("poster").hidden = true;
    find("poster").removeAttribute("src");
    this.#note("");
  }

  #note(text) {
    dreambatch.find("stage-note").textContent = text;
  }

  #turn(isTurning) {
    dreambatch.find("turning").setAttribute("aria-pressed", String(isTurning));
    if (!this.viewer) return;
    this.viewer.isTurning = isTurning;
    this.viewer.draw();
  }

  #tools() {
    const { find } = dreambatch;
    const step = (side) => {
      const row = this.neighbours[side];
      if (row !== undefined) this.onStep(this.table.value(row, "asset_id"));
    };
    find("close").addEventListener("click", () => this.close());
    find("previous").addEventListener("click", () => step(0));
    find("next").addEventListener("click", () => step(1));
    find("reset").addEventListener("click", () => this.viewer?.reset());
    find("turning").addEventListener("click", () => this.#turn(!this.viewer?.isTurning));
    const modes = [...document.querySelectorAll("[data-mode]")];
    for (const button of modes) {
      button.addEventListener("click", () => {
        modes.forEach((x) => x.setAttribute("aria-pressed", String(x === button)));
        if (!this.viewer) return;
        this.viewer.mode = Number(button.dataset.mode);
        this.viewer.draw();
      });
    }
    this.dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "p") step(0);
      if (event.key === "n") step(1);
    });
    // A click beside the dialog is one on its backdrop, which belongs to the dialog itself.
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.close();
    });
  }

  // What is known of an asset, group by group; what has no value is left out.
  #facts(row) {
    const { make, said, format } = dreambatch;
    const { columns, arrays } = this.table;
    const sections = [];
    for (const [group, title] of Detail.GROUPS) {
      const list = make("dl");
      columns.forEach((column, index) => {
        if (column.group !== group || column.name === "prompt") return;
        if (column.name.startsWith("bbox_")) return;
        const text = format.shown(column, arrays[index][row]);
        if (text === format.NOTHING) return;
        list.append(make("div", {}, said("dt", "", column.label),
          said("dd", group === "names" ? "code" : "", text)));
      });
      if (group === "mesh") list.append(...this.#box(row));
      if (list.childElementCount) sections.push(make("section", {}, make("h3", {}, title), list));
    }
    return sections;
  }

  // The size of the box around the mesh, in scene units.
  #box(row) {
    const { make, format } = dreambatch;
    const sizes = ["x", "y", "z"].map((axis) => {
      const ends = ["min", "max"].map((end) => this.table.byName.get(`bbox_${end}_${axis}`));
      const [low, high] = ends.map((index) => this.table.arrays[index]?.[row] ?? NaN);
      return high - low;
    });
    if (!sizes.every(Number.isFinite)) return [];
    const text = sizes.map((size) => format.number(Number(size.toPrecision(3)), "")).join(" × ");
    return [make("div", {}, make("dt", {}, "Size"), make("dd", {}, text))];
  }
};
