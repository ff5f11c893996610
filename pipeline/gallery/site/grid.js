// A grid of any number of cards, of which only those near the window exist.
//
// Cards are placed by hand, so that a card that has the keyboard's focus can stay where it is when
// the others around it go.
"use strict";

dreambatch.Grid = class Grid {
  static GAP = 16;
  static CAPTION = 74;
  static NARROWEST = 148;
  static OVERSCAN = 2;

  // `makeCard(row)` gives the element of an asset.
  constructor(element, makeCard) {
    this.element = element;
    this.makeCard = makeCard;
    this.rows = [];
    this.cards = new Map(); // by position in `rows`
    this.waiting = 0;
    addEventListener("scroll", () => this.refresh(), { passive: true });
    new ResizeObserver(() => this.refresh()).observe(element.parentElement);
    element.addEventListener("keydown", (event) => this.#move(event));
  }

  show(rows) {
    this.rows = rows;
    this.cards.forEach((card) => card.remove());
    this.cards.clear();
    this.#layout();
  }

  refresh() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#layout();
    });
  }

  #measures() {
    const { GAP, CAPTION, NARROWEST } = Grid;
    const width = this.element.clientWidth;
    const columns = Math.max(2, Math.floor((width + GAP) / (NARROWEST + GAP)));
    const side = (width - (columns - 1) * GAP) / columns;
    return { columns, side, step: side + CAPTION + GAP, across: side + GAP };
  }

  #layout() {
    const { columns, side, step, across } = this.#measures();
    if (side <= 0) return;
    const lines = Math.ceil(this.rows.length / columns);
    this.columns = columns;
    this.element.style.height = `${Math.max(0, lines * step - Grid.GAP)}px`;
    const top = -this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / step) - Grid.OVERSCAN) * columns;
    const last = (Math.ceil((top + innerHeight) / step) + Grid.OVERSCAN) * columns;
    const end = Math.min(this.rows.length, last);
    for (const [position, card] of this.cards) {
      const isFar = position < first || position >= end;
      if (!isFar || card.contains(document.activeElement)) continue;
      card.remove();
      this.cards.delete(position);
    }
    for (let position = first; position < end; position += 1) this.#place(position);
    for (const [position, card] of this.cards) {
      const [x, y] = [(position % columns) * across, Math.floor(position / columns) * step];
      card.style.width = `${side}px`;
      card.style.height = `${step - Grid.GAP}px`;
      card.style.transform = `translate(${x}px, ${y}px)`;
    }
  }

  #place(position) {
    if (this.cards.has(position)) return;
    const card = this.makeCard(this.rows[position]);
    card.setAttribute("role", "listitem");
    card.setAttribute("aria-posinset", position + 1);
    card.setAttribute("aria-setsize", this.rows.length);
    this.cards.set(position, card);
    // In order of position, for who goes through them with the tab key.
    const next = [...this.cards.keys()].filter((x) => x > position).sort((a, b) => a - b)[0];
    this.element.insertBefore(card, next === undefined ? null : this.cards.get(next));
  }

  #move(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    const from = [...this.cards].find(([, card]) => card.contains(event.target))?.[0];
    if (from === undefined) return;
    let to = Object.hasOwn(steps, event.key) ? from + steps[event.key] : undefined;
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = this.rows.length - 1;
    if (to === undefined || to < 0 || to >= this.rows.length) return;
    event.preventDefault();
    this.focus(to);
  }

  // Brings a position into the window and gives its card the focus.
  focus(position) {
    const { columns, step } = this.#measures();
    const y = this.element.getBoundingClientRect().top + Math.floor(position / columns) * step;
    const head = 80;
    if (y < head) scrollBy({ top: y - head });
    else if (y + step > innerHeight) scrollBy({ top: y + step - innerHeight });
    this.#layout();
    this.cards.get(position)?.querySelector("a").focus({ preventScroll: true });
  }
};
