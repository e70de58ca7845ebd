// The controls above the photos: their order, the space they are compared in, their size, whether
// they fill their tiles, and the export of the list.

import { element, iconButton } from "./elements.js";
import { EXPORT_FORMATS, exportLink } from "./export.js";
import { TILE_SIZES } from "./grid.js";
import { isPhoto, request } from "./url_state.js";

const SIZE_STORED = "isophote-tile";
const FIT_STORED = "isophote-fit";
// Three photos beside each other on a phone.
const DEFAULT_SIZE = matchMedia("(max-width: 48rem)").matches ? 1 : 2;

const SORTS = [
  ["-taken_at", "Newest first"],
  ["taken_at", "Oldest first"],
  ["-quality", "Best quality first"],
  ["quality", "Lowest quality first"],
  ["-anomaly", "Most unusual first"],
  ["anomaly", "Least unusual first"],
  ["path", "By path"],
  ["-image_id", "Last indexed first"],
];
const QUALITY_ORDERS = [
  ["worst", "Lowest first"],
  ["best", "Best first"],
];

const SPACES = {
  clip: "clip: words and photos",
  isoclip: "isoclip: photos alone",
  trunk: "trunk: photos alone",
  semantic: "semantic: by class names",
};
const SPACES_OF_WORDS = ["clip", "semantic"];

// `changed` is given what is to change in the state; `grid` is the one they arrange.
export function createListControls(page, grid, changed) {
  let state = null;

  const sort = element("select", { "aria-label": "Order", onchange: reorder });
  const space = spaceSwitch(page.overview, (chosen) => changed({ space: chosen }));
  const smaller = iconButton("minus", "Smaller photos", () => changeSize(-1), {
    "aria-keyshortcuts": "-",
  });
  const larger = iconButton("plus", "Larger photos", () => changeSize(1), {
    "aria-keyshortcuts": "+",
  });
  const fit = iconButton("fit", "Show whole photos", toggleFit, { "aria-pressed": "false" });
  const links = element("div", {});
  const exports = element("details", { class: "menu" }, element("summary", {}, "Export"), links);

  function reorder({ target }) {
    changed(state.list === "quality" ? { order: target.value } : { sort: target.value });
  }

  function fillSort() {
    const { n_scored, n_rated } = page.overview;
    const needs = { quality: n_rated, anomaly: n_scored };
    const possible = SORTS.filter(([order]) => needs[order.replace("-", "")] !== 0);
    const orders = state.list === "quality" ? QUALITY_ORDERS : possible;
    sort.replaceChildren(...orders.map(([value, name]) => element("option", { value }, name)));
    sort.value = state.list === "quality" ? state.order : state.sort;
    sort.hidden = state.parts.length > 0 || state.list === "anomalies";
  }

  // Words are compared where texts are.
  function fillSpace() {
    const hasWords = state.parts.some((part) => !isPhoto(part));
    for (const option of space.options) {
      option.disabled = hasWords && option.value !== "" && !SPACES_OF_WORDS.includes(option.value);
    }
    space.value = state.space ?? "";
    space.hidden = !state.parts.length;
  }

  function update(now) {
    state = now;
    fillSort();
    fillSpace();
    links.replaceChildren(
      ...EXPORT_FORMATS.map((format) => exportLink(page, format, exported(state))),
    );
  }

  function size() {
    const stored = Number(localStorage.getItem(SIZE_STORED) ?? DEFAULT_SIZE);
    return TILE_SIZES[stored] ? stored : DEFAULT_SIZE;
  }

  function changeSize(step) {
    const next = Math.max(0, Math.min(TILE_SIZES.length - 1, size() + step));
    localStorage.setItem(SIZE_STORED, next);
    arrange();
  }

  function toggleFit() {
    localStorage.setItem(
      FIT_STORED,
      localStorage.getItem(FIT_STORED) === "whole" ? "filled" : "whole",
    );
    arrange();
  }

  function arrange() {
    const isWhole = localStorage.getItem(FIT_STORED) === "whole";
    grid.element.classList.toggle("whole", isWhole);
    fit.setAttribute("aria-pressed", isWhole);
    smaller.disabled = size() === 0;
    larger.disabled = size() === TILE_SIZES.length - 1;
    grid.resize(TILE_SIZES[size()]);
  }

  arrange();
  return {
    element: element("div", { class: "tools" }, sort, space, smaller, larger, fit, exports),
    update,
    changeSize,
  };
}

function spaceSwitch({ spaces, default_image_space: usual }, changed) {
  const options = spaces.map((space) =>
    element("option", { value: space }, SPACES[space] ?? space),
  );
  return element(
    "select",
    {
      "aria-label": "Compare in",
      title: `Compare in; photos alone in ${usual} by default`,
      onchange: ({ target }) => changed(target.value || null),
    },
    element("option", { value: "" }, "Compare: auto"),
    ...options,
  );
}

// Ranked lists are exported as the photos that have a rank, in its order.
function exported(state) {
  const { path, parameters } = request(state);
  if (path === "/search" || path === "/images") return parameters;
  const isQuality = state.list === "quality";
  const ranked = isQuality ? "quality is not null" : "anomaly is not null";
  const where = parameters.where ? `(${parameters.where}) and ${ranked}` : ranked;
  const sort = isQuality ? (state.order === "best" ? "-quality" : "quality") : "-anomaly";
  return { where, sort };
}
