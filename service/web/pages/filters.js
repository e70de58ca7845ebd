// The filters beside the photos. Together they make one condition; see condition.js.

import { createChoiceList } from "./choice_list.js";
import { createDateFilter } from "./date_filter.js";
import { button, drawnIcon, element, iconButton } from "./elements.js";
import { folderTree } from "./folder_tree.js";
import { shownText } from "./format.js";
import { createRangeFilter } from "./range_filter.js";
import { noFilters } from "./url_state.js";

const STORED = "isophote-filters";
const IS_WIDE = matchMedia("(min-width: 64rem)");

// `changed(filters)` is told every change, `loaded()` that names of folders are known, and
// `failed(error)` what could not be loaded.
export function createFilters(page, { changed, loaded, failed }) {
  const controller = new AbortController();
  let filters = noFilters();
  let isLoaded = false;
  let folders = [];

  const change = (some) => changed({ ...filters, ...some });
  const quality = createRangeFilter(page, {
    column: "quality",
    title: "Quality",
    changed: (ends) => change({ quality: ends }),
  });
  const anomaly = createRangeFilter(page, {
    column: "anomaly",
    title: "Anomaly",
    changed: (ends) => change({ anomaly: ends }),
  });
  const dates = createDateFilter(page, { changed: change });
  const folder = createChoiceList({
    label: "Folders",
    isOne: true,
    changed: ([value]) => change({ folder: value ?? null }),
  });
  const formats = createChoiceList({
    label: "Formats",
    changed: (values) => change({ formats: values }),
  });
  const labels = createChoiceList({
    label: "Labels",
    changed: (values) => change({ labels: values }),
  });
  const where = createConditionField((text) => change({ where: text || null }));

  // They stand below the folders, and are shown with them, so that nothing moves.
  const below = [
    Object.keys(page.overview.formats).length > 1 && section("Format", formats),
    page.overview.label_names.length > 0 && section("Label", labels),
    where.element,
  ].filter(Boolean);
  below.forEach((each) => (each.hidden = true));
  const clearAll = button("Clear all", () => changed(noFilters()), {
    class: "plain small",
    hidden: true,
  });

  const dialog = element(
    "dialog",
    { class: "filters", id: "filters", "aria-label": "Filters" },
    element(
      "div",
      { class: "title" },
      element("h2", {}, "Filters"),
      clearAll,
      iconButton("close", "Close the filters", () => close(), { class: "icon plain" }),
    ),
    page.overview.n_rated > 0 && quality.element,
    page.overview.n_scored > 0 && anomaly.element,
    page.overview.has_files && dates.element,
    section("Folder", folder),
    ...below,
  );
  const openerText = element("span", {}, "Filters");
  const opener = button([drawnIcon("filter"), openerText], () => (dialog.open ? close() : open()), {
    class: "opener",
    "aria-expanded": "false",
    "aria-controls": "filters",
  });

  dialog.addEventListener("close", () => opener.setAttribute("aria-expanded", "false"));
  IS_WIDE.addEventListener("change", reopen, { signal: controller.signal });
  // Outside of the box of a modal dialog its backdrop is hit.
  dialog.addEventListener("click", ({ target, clientX }) => {
    if (target === dialog && !IS_WIDE.matches && clientX > dialog.getBoundingClientRect().right)
      close();
  });

  function open() {
    // Beside the photos it is no dialog that takes the focus.
    if (IS_WIDE.matches) dialog.open = true;
    else dialog.showModal();
    opener.setAttribute("aria-expanded", "true");
    if (IS_WIDE.matches) localStorage.setItem(STORED, "open");
    load();
  }

  function close() {
    dialog.close();
    if (IS_WIDE.matches) localStorage.setItem(STORED, "closed");
  }

  function reopen() {
    if (!dialog.open) return;
    dialog.close();
    if (IS_WIDE.matches) open();
  }

  // Beside the photos from the start where there is room, unless they were closed.
  function openIfWide() {
    if (!IS_WIDE.matches || localStorage.getItem(STORED) === "closed") return;
    dialog.open = true;
    opener.setAttribute("aria-expanded", "true");
  }

  async function load() {
    if (isLoaded) return;
    isLoaded = true;
    const { signal } = controller;
    const { n_rated, n_scored, has_files, formats: counts, label_names } = page.overview;
    formats.fill(Object.entries(counts).map(([name, n]) => ({ value: name, name, n })));
    labels.fill(label_names.map((name) => ({ value: name, name: shownText(name) })));
    update(filters);
    const loads = [
      loadFolders(signal),
      n_rated && quality.load(signal),
      n_scored && anomaly.load(signal),
      has_files && dates.load(signal),
    ];
    const outcomes = await Promise.allSettled(loads);
    const error = outcomes.find(({ reason }) => reason && reason.name !== "AbortError")?.reason;
    if (error) failed(error);
  }

  async function loadFolders(signal) {
    try {
      const listed = await page.api.get("/folders", {}, { signal });
      folders = folderTree(listed.folders);
      folder.fill(folders);
      update(filters);
      loaded();
    } finally {
      below.forEach((each) => (each.hidden = false));
    }
  }

  function update(now) {
    filters = now;
    quality.update(now.quality);
    anomaly.update(now.anomaly);
    dates.update(now);
    folder.update(now.folder ? [now.folder] : []);
    formats.update(now.formats);
    labels.update(now.labels);
    where.update(now.where);
    const active = activeFilters(now).length;
    openerText.textContent = active ? `Filters (${active})` : "Filters";
    opener.classList.toggle("active", active > 0);
    clearAll.hidden = !active;
  }

  return {
    element: dialog,
    opener,
    update,
    // A folder in the address has no name before the folders are known.
    load: () => (dialog.open || filters.folder) && load(),
    openIfWide,
    folderName: (value) => folders.find((each) => each.value === value)?.name,
    leave: () => controller.abort(),
  };
}

function section(title, choices) {
  return element(
    "details",
    { open: title === "Folder" },
    element("summary", {}, title),
    ...choices.elements,
  );
}

function createConditionField(changed) {
  const field = element("textarea", {
    rows: 3,
    spellcheck: "false",
    "aria-label": "SQL condition",
    placeholder: "camera like 'Canon%' and width > 3000",
  });
  const form = element(
    "details",
    {},
    element("summary", {}, "Condition"),
    element("p", { class: "told" }, "Any SQL condition over the columns, as for --where."),
    field,
    button("Apply", () => changed(field.value.trim())),
  );
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) changed(field.value.trim());
  });
  return {
    element: form,
    update(text) {
      field.value = text ?? "";
      if (text) form.open = true;
    },
  };
}

// What the chips above the photos say, each with the filters without it.
export function activeFilters(filters, folderName = () => null) {
  const between = (name, [low, high]) =>
    [name, low && `from ${low}`, high && `to ${high}`].filter(Boolean).join(" ");
  const chips = [
    filters.quality && [between("quality", filters.quality), { quality: null }],
    filters.anomaly && [between("anomaly", filters.anomaly), { anomaly: null }],
    filters.taken && !filters.undated && [between("taken", filters.taken), { taken: null }],
    filters.undated && ["without a date", { undated: false }],
    filters.folder && [folderName(filters.folder) ?? "folder", { folder: null }],
    ...filters.formats.map((name) => [
      name,
      { formats: filters.formats.filter((other) => other !== name) },
    ]),
    ...filters.labels.map((name) => [
      shownText(name),
      { labels: filters.labels.filter((other) => other !== name) },
    ]),
    filters.where && [filters.where, { where: null }],
  ];
  return chips
    .filter(Boolean)
    .map(([name, without]) => ({ name, without: { ...filters, ...without } }));
}
