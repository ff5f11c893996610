// The prompts without an asset, each with the reason.
"use strict";

dreambatch.Unmade = class Unmade {
  static PAGE = 100;
  static TITLES = { quarantined: "Quarantined", rejected: "Rejected" };

  constructor(element) {
    this.element = element;
    this.items = [];
    this.statuses = new Set();
    this.query = "";
    this.most = Unmade.PAGE;
  }

  take(items, counts) {
    this.items = items.map((item) => ({
      ...item,
      text: dreambatch.Table.folded([item.prompt, item.prompt_id, item.reason, item.kind]
        .map((part) => part ?? "").join("\n")),
    }));
    this.counts = counts;
    this.#draw();
  }

  search(query) {
    this.query = dreambatch.Table.folded(query);
    this.most = Unmade.PAGE;
    this.#draw();
  }

  get found() {
    const words = this.query.split(/\s+/).filter(Boolean);
    return this.items.filter((item) => words.every((word) => item.text.includes(word)));
  }

  #draw() {
    const { make, format } = dreambatch;
    const found = this.found;
    const children = found.slice(0, this.most).map((item) => this.#item(item));
    if (found.length > this.most) {
      const more = make("button", { type: "button", class: "quiet" },
        `Show more (${format.count(found.length - this.most)} left)`);
      more.addEventListener("click", () => { this.most += Unmade.PAGE; this.#draw(); });
      children.push(more);
    }
    const total = (this.counts?.quarantined ?? 0) + (this.counts?.rejected ?? 0);
    if (total > this.items.length) {
      children.push(make("p", { class: "hint" },
        `The first ${format.count(this.items.length)} of ${format.count(total)} are listed.`));
    }
    if (!total) children.push(make("p", { class: "hint" }, "Every prompt became an asset."));
    this.element.replaceChildren(...children);
  }

  #item(item) {
    const { make, said } = dreambatch;
    const origin = item.status === "rejected"
      ? `row ${item.row} of ${item.manifest}`
      : `${item.kind} · ${item.attempts} ${item.attempts === 1 ? "attempt" : "attempts"} · ` +
        dreambatch.format.time(Date.parse(item.when) / 1000);
    return make("article", { class: `failure ${item.status}` },
      make("span", { class: "badge" }, Unmade.TITLES[item.status]),
      said("h3", "", item.prompt || "(no prompt)"),
      said("p", "reason", item.reason),
      said("p", "origin", [item.prompt_id, origin].filter(Boolean).join(" · ")));
  }
};
