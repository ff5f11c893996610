// What all other scripts share: the one global name, and elements that are made from data.
//
// Classic scripts, because a page that was opened as a file may not load modules. Data reach the
// page as text nodes and properties only, never as HTML.
"use strict";

window.dreambatch = (() => {
  const handlers = new Map();

  // Scripts of data call receive(kind, ...values); on(kind) says who takes them.
  function on(kind, handler) {
    handlers.set(kind, handler);
  }

  function receive(kind, ...values) {
    handlers.get(kind)(...values);
  }

  // Loads a script of data; false where it is not there.
  function load(address) {
    return new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = address;
      script.addEventListener("load", () => { script.remove(); resolve(true); });
      script.addEventListener("error", () => { script.remove(); resolve(false); });
      document.head.append(script);
    });
  }

  // An element with properties and children; a string child is a text node.
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") element.className = value;
      else if (name.includes("-") || name === "role") element.setAttribute(name, value);
      else element[name] = value;
    }
    element.append(...children);
    return element;
  }

  // A text of a user: shown in its own direction, so that it turns nothing around it.
  function said(tag, className, text) {
    return make(tag, { class: className, dir: "auto", textContent: text });
  }

  const find = (id) => document.getElementById(id);
  const prefersStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  return { on, receive, load, make, said, find, prefersStill };
})();
