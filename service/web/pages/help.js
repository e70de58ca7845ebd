// The one dialog that tells the keys, and in which they can be switched off.

import { element } from "./elements.js";

const STORED = "isophote-keys";
const SHOWN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  PageUp: "page up",
  PageDown: "page down",
  Escape: "esc",
  Enter: "enter",
  " ": "space",
};

export const usesKeys = () => localStorage.getItem(STORED) !== "off";

export function openHelp(dialog, viewKeys, panelKeys) {
  dialog.replaceChildren(
    element("h2", { id: "help-title" }, "Keys"),
    list(viewKeys),
    element("h3", {}, "In the panel of a photo"),
    list(panelKeys),
    element("label", { class: "check" }, keysBox(), "Use these keys"),
    element(
      "form",
      { method: "dialog" },
      element("button", { class: "primary", autofocus: true }, "Close"),
    ),
  );
  dialog.showModal();
}

// Several keys that do the same are written as one entry: "ArrowLeft ArrowRight".
function list(keys) {
  const rows = Object.entries(keys).flatMap(([names, { does }]) => [
    element("dt", {}, ...(names === " " ? [names] : names.split(" ")).map(drawnKey)),
    element("dd", {}, does),
  ]);
  return element("dl", { class: "facts keys" }, ...rows);
}

const drawnKey = (name) => element("kbd", {}, SHOWN[name] ?? name);

function keysBox() {
  return element("input", {
    type: "checkbox",
    checked: usesKeys(),
    onchange: ({ target }) => localStorage.setItem(STORED, target.checked ? "on" : "off"),
  });
}
