// The assets, column by column, as they arrive.
"use strict";

dreambatch.Table = class Table {
  constructor(columns) {
    this.columns = columns;
    this.arrays = columns.map(() => []);
    this.size = 0;
    this.places = new Map(); // row by asset id
    this.texts = []; // what the search looks at, in small letters
    this.byName = new Map(columns.map((column, index) => [column.name, index]));
    this.searched = ["prompt", "prompt_id", "negative_prompt", "asset_id"]
      .map((name) => this.byName.get(name));
  }

  append(arrays) {
    arrays.forEach((values, index) => {
      const array = this.arrays[index];
      for (const value of values) array.push(value);
    });
    const ids = this.arrays[this.byName.get("asset_id")];
    for (let row = this.size; row < ids.length; row += 1) {
      this.places.set(ids[row], row);
      const words = this.searched.map((index) => this.arrays[index][row] ?? "");
      this.texts.push(dreambatch.Table.folded(words.join("\n")));
    }
    this.size = ids.length;
  }

  value(row, name) {
    return this.arrays[this.byName.get(name)][row];
  }

  // Row of an asset, undefined if it has not arrived or is not there.
  find(assetId) {
    return this.places.get(assetId);
  }

  static folded(text) {
    return text.normalize("NFC").toLowerCase();
  }
};
