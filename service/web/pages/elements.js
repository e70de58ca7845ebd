// Elements made without markup: text is always set as text, so that no name can become an element.

const SVG = "http://www.w3.org/2000/svg";

// element("button", { class: "primary", onclick: save, disabled: true }, "Save"). False, null and
// undefined leave an attribute out; children that are null, false or undefined are left out.
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value);
  }
  made.append(...present(children));
  return made;
}

const present = (children) =>
  children.flat().filter((child) => child !== null && child !== undefined && child !== false);

export const refill = (parent, ...children) => parent.replaceChildren(...present(children));

export function button(label, action, attributes = {}) {
  return element("button", { type: "button", onclick: action, ...attributes }, ...[label].flat());
}

export function iconButton(icon, label, action, attributes = {}) {
  const titled = { "aria-label": label, title: label, class: "icon", ...attributes };
  return button(drawnIcon(icon), action, titled);
}

// Each is drawn in a square of 24, as lines.
const ICONS = {
  search: "M11 4a7 7 0 1 0 0 14a7 7 0 1 0 0-14M16 16l5 5",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  filter: "M4 6h16M7 12h10M10 18h4",
  check: "M5 12.5l5 5L19 7",
  similar: "M4 4h10v10H4zM10 14v6h10V10h-6",
  fit: "M4 7h16v10H4zM4 3h16M4 21h16",
};

export function drawnIcon(name) {
  return drawing(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", class: "drawn" },
    drawing("path", { d: ICONS[name] }),
  );
}
