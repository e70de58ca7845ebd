// The photos: all of them, those that a search found, or those ranked by quality or anomaly.

import { button, element, iconButton } from "./elements.js";
import { EXPORT_FORMATS, exportLink } from "./export.js";
import { activeFilters, createFilters } from "./filters.js";
import { count, counted } from "./format.js";
import { Grid, TILE_SIZES } from "./grid.js";
import { photoList } from "./photo_list.js";
import { createSearchBox } from "./search_box.js";
import { Selection } from "./selection.js";
import { emptyState, errorState, sentence } from "./states.js";
import { address, noFilters, readState, request } from "./url_state.js";

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

const SPACES = {
  clip: "clip: words and photos",
  isoclip: "isoclip: photos alone",
  trunk: "trunk: photos alone",
  semantic: "semantic: by class names",
};
const SPACES_OF_WORDS = ["clip", "semantic"];

const SCORE_HOW = "isophote anomalies fit usual --examples FOLDER\nisophote anomalies score usual";

export async function show(container, parameters, page) {
  const view = new PhotosView(container, page);
  await view.update(parameters);
  return view;
}

class PhotosView {
  constructor(container, page) {
    this.page = page;
    this.state = readState(new URLSearchParams());
    this.list = null;
    this.turn = 0;
    this.selection = new Selection(page, () => this.grid.redrawSelection());
    this.grid = new Grid(this.gridActions(), this.selection);
    this.box = createSearchBox(page, { changed: (parts) => this.search(parts), done: () => this.focus(), failed: (error) => this.warn(error) });
    this.filters = createFilters(page, {
      changed: (filters) => this.go({ filters }),
      loaded: () => this.drawChips(),
      failed: (error) => this.warn(error),
    });
    this.keys = this.madeKeys();
    this.build(container);
    this.applySize();
    this.applyFit();
    this.filters.openIfWide();
  }

  build(container) {
    this.space = this.spaceSwitch();
    this.heading = element("h1", { tabindex: "-1" }, "Photos");
    this.note = element("p", { class: "note" });
    this.warning = element("p", { class: "warning", role: "alert", hidden: true });
    this.chips = element("ul", { class: "chips active-filters", "aria-label": "Filters in use", hidden: true });
    this.tools = element("div", { class: "tools" });
    this.sort = this.sortSwitch();
    this.exports = element("div", {});
    this.outcome = element("div", { class: "outcome" });
    this.fit = iconButton("fit", "Show whole photos", () => this.toggleFit(), { "aria-pressed": "false" });
    this.tools.append(
      this.sort,
      this.space,
      iconButton("minus", "Smaller photos", () => this.changeSize(-1), { "aria-keyshortcuts": "-" }),
      iconButton("plus", "Larger photos", () => this.changeSize(1), { "aria-keyshortcuts": "+" }),
      this.fit,
      element("details", { class: "menu" }, element("summary", {}, "Export"), this.exports),
    );
    container.append(
      element("div", { class: "search-bar" }, this.filters.opener, this.box.element),
      element(
        "div",
        { class: "beside" },
        this.filters.element,
        element(
          "div",
          { class: "photos-main" },
          element("div", { class: "list-bar" }, element("div", { class: "told-of" }, this.heading, this.note), this.tools),
          this.warning,
          this.chips,
          this.outcome,
        ),
      ),
      this.selection.element,
    );
    container.addEventListener("keydown", (event) => this.escaped(event));
    document.addEventListener("click", this.closeMenus);
  }

  closeMenus = ({ target }) => {
    document.querySelectorAll(".menu[open]").forEach((menu) => menu.contains(target) || (menu.open = false));
  };

  escaped(event) {
    const menu = event.key === "Escape" && event.target.closest(".menu[open]");
    if (!menu) return;
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  }

  leave() {
    this.turn += 1;
    this.list?.close();
    this.grid.leave();
    this.filters.leave();
    this.box.leave();
    document.removeEventListener("click", this.closeMenus);
  }

  go(changes) {
    this.page.go(address({ ...this.state, ...changes }));
  }

  search(parts) {
    // Ranked lists have no search; a search left is back to all photos.
    this.go({ parts, list: null, space: parts.length ? this.state.space : null });
  }

  gridActions() {
    return {
      open: (place) => this.open(place),
      similar: (place) => this.similar(place),
      select: (place, { isRange }) => this.select(place, isRange),
    };
  }

  // What keys do with the tile that has the focus, or had it last.
  onActive(action) {
    return () => {
      const photo = this.list?.get(this.grid.active);
      if (photo && this.outcome.contains(this.grid.element)) action(this.grid.active, photo);
    };
  }

  madeKeys() {
    const move = "move from photo to photo";
    return {
      "/": { does: "search", action: () => this.box.focus() },
      "ArrowLeft ArrowRight ArrowUp ArrowDown": { does: move },
      "Home End PageUp PageDown": { does: "move by rows and screens" },
      Enter: { does: "open the photo", action: (event) => this.enter(event) },
      s: { does: "find similar photos", action: this.onActive((place) => this.similar(place)) },
      x: { does: "select; with Shift up to the last one", action: (event) => this.selectActive(event) },
      f: { does: "open or close the filters", action: () => this.filters.opener.click() },
      "+": { does: "larger photos", action: () => this.changeSize(1) },
      "-": { does: "smaller photos", action: () => this.changeSize(-1) },
      Escape: { does: "clear the selection", action: () => this.selection.clear() },
    };
  }

  enter({ target }) {
    if (target.matches(".tile")) this.open(Number(target.dataset.place));
    else target.click?.();
  }

  selectActive({ shiftKey }) {
    this.onActive((place) => this.select(place, shiftKey))();
  }

  open(place) {
    const photo = this.list.get(place);
    if (photo) this.page.openPhoto(photo.image_id, this.list);
  }

  photoClosed(id) {
    const place = this.list?.placeOf(id) ?? -1;
    if (place >= 0) this.grid.focus(place);
  }

  focus() {
    if (this.outcome.contains(this.grid.element)) this.grid.focus(this.grid.active);
    else this.heading.focus();
  }

  similar(place) {
    const photo = this.list.get(place);
    if (photo) this.page.go(address({ ...this.state, list: null, space: null, parts: [{ sign: 1, content: `id:${photo.image_id}`, weight: 1 }] }));
  }

  async select(place, isRange) {
    const from = this.selection.anchor;
    if (!isRange || from === null) {
      const photo = this.list.get(place);
      if (photo) this.selection.toggle(photo, place);
      return;
    }
    try {
      this.selection.add(await this.list.between(Math.min(from, place), Math.max(from, place)));
    } catch (error) {
      this.warn(error);
    }
  }

  async update(parameters) {
    const mine = ++this.turn;
    this.state = readState(parameters);
    this.drawControls();
    this.heading.setAttribute("aria-busy", "true");
    this.outcome.classList.add("waiting");
    if (!this.outcome.hasChildNodes()) this.outcome.append(skeleton());
    const instead = this.insteadOfList();
    if (instead) {
      this.drawInstead(instead);
      return;
    }
    const list = photoList(this.page.api, request(this.state));
    // A search that is given up is not worth its answer.
    this.opening?.close();
    this.opening = list;
    try {
      await list.open();
      if (mine === this.turn) this.drawList(list);
    } catch (error) {
      if (mine === this.turn) this.drawError(error, parameters);
    } finally {
      if (mine === this.turn) this.outcome.classList.remove("waiting");
      this.filters.load();
    }
  }

  drawControls() {
    const { parts, space, list, sort, filters } = this.state;
    this.warning.hidden = true;
    this.box.update(parts);
    this.filters.update(filters);
    this.space.hidden = !parts.length;
    this.space.value = space ?? "";
    this.allowSpaces(parts);
    this.sort.hidden = parts.length > 0 || list === "anomalies";
    this.fillSort(list, sort);
    this.drawChips();
    const { path, parameters } = request(this.state);
    const asked = path === "/search" || path === "/images" ? parameters : { where: parameters.where, sort: list === "quality" ? this.qualitySort() : "-anomaly" };
    this.exports.replaceChildren(...EXPORT_FORMATS.map((format) => exportLink(this.page, format, asked)));
  }

  qualitySort() {
    return this.state.order === "best" ? "-quality" : "quality";
  }

  drawChips() {
    const chips = activeFilters(this.state.filters, this.filters.folderName);
    this.chips.hidden = !chips.length;
    this.chips.replaceChildren(
      ...chips.map(({ name, without }) =>
        element(
          "li",
          { class: "chip" },
          element("bdi", { class: "what" }, name),
          iconButton("close", `Remove the filter ${name}`, () => this.go({ filters: without }), { class: "" }),
        ),
      ),
    );
  }

  drawList(list) {
    this.list = list;
    list.onerror = (error) => this.warn(error);
    this.heading.removeAttribute("aria-busy");
    this.heading.textContent = this.title(list);
    this.note.textContent = this.noteOn(list);
    this.page.announce(`${this.heading.textContent}. ${this.note.textContent}`);
    if (!list.length) {
      this.outcome.replaceChildren(this.nothing());
      return;
    }
    if (!this.outcome.contains(this.grid.element)) this.outcome.replaceChildren(this.grid.element);
    this.grid.show(list, this.state.list);
  }

  // What stands where there is nothing to ask for; null where there is.
  insteadOfList() {
    const { parts, list } = this.state;
    if (list === "anomalies" && !this.page.overview.n_scored) return noScores();
    if (!parts.length || parts.some(({ sign }) => sign > 0)) return null;
    return emptyState(
      "Unlike what?",
      "A search also needs something that photos should be like: add words or a photo.",
      button("Add words", () => this.box.focus(), { class: "primary" }),
      button("Show all photos", () => this.search([])),
    );
  }

  drawInstead(state) {
    this.opening?.close();
    this.list = null;
    this.heading.removeAttribute("aria-busy");
    this.heading.textContent = this.state.list ? "Outliers" : "Photos";
    this.note.textContent = "";
    this.outcome.classList.remove("waiting");
    this.outcome.replaceChildren(state);
    this.filters.load();
  }

  drawError(error, parameters) {
    this.heading.removeAttribute("aria-busy");
    if (error.name === "AbortError") return;
    this.heading.textContent = "Photos";
    this.note.textContent = "";
    const { filters, parts, space } = this.state;
    this.outcome.replaceChildren(
      errorState(
        error,
        () => this.update(parameters),
        filters.where && button("Remove the condition", () => this.go({ filters: { ...filters, where: null } })),
        space && button("Choose the space automatically", () => this.go({ space: null })),
        parts.length > 0 && button("Show all photos", () => this.search([])),
      ),
    );
  }

  warn(error) {
    this.warning.textContent = sentence(error.message);
    this.warning.hidden = false;
  }

  title(list) {
    const { parts, list: kind, filters, order } = this.state;
    const isFiltered = activeFilters(filters).length > 0;
    if (kind === "quality") return order === "best" ? "Best quality" : "Low quality";
    if (kind === "anomalies") return "Outliers";
    if (parts.length) return "Closest first";
    const { n_images: all } = this.page.overview;
    return isFiltered ? `${count(list.length)} of ${counted(all, "photo")}` : counted(list.length, "photo");
  }

  noteOn({ length, answer }) {
    const { list: kind, parts } = this.state;
    if (kind === "quality") return `${counted(length, "photo")} by technical quality. It knows nothing of what a picture shows: look before you delete.`;
    if (kind === "anomalies") return answer.reference ? `${counted(length, "photo")} by how little they belong, by the reference “${answer.reference}”.` : "";
    if (!parts.length) return "";
    const { n_searched: n, space } = answer;
    const among = n > length ? `The closest ${count(length)} of ${counted(n, "photo")}` : counted(n, "photo");
    return `${among}, compared in ${space}.`;
  }

  nothing() {
    const { filters, list } = this.state;
    const isFiltered = activeFilters(filters).length > 0;
    if (!this.page.overview.n_images) return emptyState("No photos yet", "Index a folder of photos, and they appear here:\nisophote index ~/Pictures");
    if (isFiltered) {
      const remove = button("Remove the filters", () => this.go({ filters: noFilters() }), { class: "primary" });
      return emptyState("No photo matches", "None of the photos passes all the filters.", remove);
    }
    return emptyState("No photos here", list === "quality" ? "No photo of this collection has a quality." : "Nothing was found.");
  }

  sortSwitch() {
    const change = ({ target }) => {
      if (this.state.list === "quality") this.go({ order: target.value });
      else this.go({ sort: target.value });
    };
    return element("select", { "aria-label": "Order", onchange: change });
  }

  fillSort(list, sort) {
    const { n_scored, n_rated } = this.page.overview;
    const isPossible = ([order]) => (order.endsWith("anomaly") ? n_scored : order.endsWith("quality") ? n_rated : true);
    const orders = list === "quality" ? [["worst", "Lowest first"], ["best", "Best first"]] : SORTS.filter(isPossible);
    this.sort.replaceChildren(...orders.map(([value, name]) => element("option", { value }, name)));
    this.sort.value = list === "quality" ? this.state.order : sort;
  }

  spaceSwitch() {
    const { spaces, default_image_space: usual } = this.page.overview;
    const options = spaces.map((space) => element("option", { value: space }, SPACES[space] ?? space));
    const select = element(
      "select",
      { "aria-label": "Compare in", title: `Compare in; photos alone in ${usual} by default`, onchange: ({ target }) => this.go({ space: target.value || null }) },
      element("option", { value: "" }, "Compare: auto"),
      ...options,
    );
    return select;
  }

  // Words are compared where texts are.
  allowSpaces(parts) {
    const hasWords = parts.some(({ content }) => !/^(id|upload):/.test(content));
    this.space.querySelectorAll("option").forEach((option) => {
      option.disabled = hasWords && option.value !== "" && !SPACES_OF_WORDS.includes(option.value);
    });
  }

  changeSize(step) {
    const place = Math.max(0, Math.min(TILE_SIZES.length - 1, this.size() + step));
    localStorage.setItem(SIZE_STORED, place);
    this.applySize();
  }

  size() {
    const stored = Number(localStorage.getItem(SIZE_STORED) ?? DEFAULT_SIZE);
    return TILE_SIZES[stored] ? stored : DEFAULT_SIZE;
  }

  applySize() {
    this.grid.resize(TILE_SIZES[this.size()]);
    const [smaller, larger] = this.tools.querySelectorAll("[aria-keyshortcuts]");
    smaller.disabled = this.size() === 0;
    larger.disabled = this.size() === TILE_SIZES.length - 1;
  }

  toggleFit() {
    localStorage.setItem(FIT_STORED, localStorage.getItem(FIT_STORED) === "whole" ? "filled" : "whole");
    this.applyFit();
  }

  applyFit() {
    const isWhole = localStorage.getItem(FIT_STORED) === "whole";
    this.grid.element.classList.toggle("whole", isWhole);
    this.fit.setAttribute("aria-pressed", isWhole);
  }
}

function noScores() {
  const how = element("pre", { tabindex: "0", "aria-label": "Commands" }, SCORE_HOW);
  return emptyState(
    "No photo has an anomaly score yet",
    "Say with a few examples which photos are normal, and score all by them. FOLDER has one folder of normal photos per class; without --examples the names of ImageNet that cover the collection are the classes.",
    how,
  );
}

function skeleton() {
  return element("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: 60 }, () => element("div")));
}
