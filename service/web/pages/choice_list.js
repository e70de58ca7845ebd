// A list of things to choose from, which can be searched where it is long.

import { element } from "./elements.js";
import { count } from "./format.js";

const LONG = 8;
const MAX_SHOWN = 100;

// `choices` are { value, name, n, depth }. One can be chosen (isOne) or several; `changed` is
// given the chosen values.
export function createChoiceList({ label, isOne = false, changed }) {
  let choices = [];
  let chosen = new Set();

  const search = element("input", {
    type: "search",
    "aria-label": `Find in ${label.toLowerCase()}`,
    placeholder: "Find",
    hidden: true,
    oninput: () => draw(),
  });
  const list = element("div", {
    class: "choices",
    role: "group",
    "aria-label": label,
    hidden: true,
  });
  const more = element("p", { class: "told", hidden: true });

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const found = choices.filter(({ name }) => name.toLowerCase().includes(wanted));
    list.replaceChildren(...found.slice(0, MAX_SHOWN).map(row));
    more.hidden = found.length <= MAX_SHOWN;
    more.textContent = `${count(found.length - MAX_SHOWN)} more: type a part of the name.`;
  }

  function row({ value, name, shown = name, n, depth = 0 }) {
    const box = element("input", {
      type: "checkbox",
      checked: chosen.has(value),
      onchange: () => changed(toggled(value)),
    });
    const line = element("label", { class: "check", title: name }, box, element("bdi", {}, shown));
    if (n !== undefined) line.append(element("span", { class: "number" }, count(n)));
    line.style.paddingInlineStart = `${Math.min(depth, 8) * 0.9}rem`;
    return line;
  }

  function toggled(value) {
    if (isOne) return chosen.has(value) ? [] : [value];
    return chosen.has(value) ? [...chosen].filter((other) => other !== value) : [...chosen, value];
  }

  function fill(now) {
    choices = now;
    list.hidden = false;
    search.hidden = choices.length <= LONG;
    draw();
  }

  function update(values) {
    chosen = new Set(values);
    // Not drawn anew: the box that was clicked keeps the focus.
    const boxes = list.querySelectorAll("input");
    const wanted = search.value.trim().toLowerCase();
    const found = choices.filter(({ name }) => name.toLowerCase().includes(wanted));
    boxes.forEach((box, place) => (box.checked = chosen.has(found[place].value)));
  }

  return { elements: [search, list, more], fill, update };
}
