// The top of the page: what the whole dataset holds.
"use strict";

dreambatch.showHead = (head) => {
  const { find, make, said, format } = dreambatch;
  document.title = `${head.name} · dreambatch gallery`;
  find("name").textContent = head.name;
  const several = (names) => (names.length > 3 ? `${names.length} of them` : names.join(", "));
  const facts = [
    ["Assets", format.count(head.committed)],
    ["Quarantined", format.count(head.quarantined)],
    ["Rejected", format.count(head.rejected)],
    ["Device time", format.seconds(head.gpu_seconds)],
    ["Recipe", several(head.recipes)],
    ["Model", several(head.models)],
  ];
  find("facts").replaceChildren(...facts.filter(([, text]) => text).map(([label, text]) =>
    make("div", {}, make("dt", {}, label), said("dd", "", text))));
  const count = head.quarantined + head.rejected;
  find("show-unmade").textContent = `Not made ${format.count(count)}`;
  find("show-assets").textContent = `Assets ${format.count(head.shown)}`;
};
