// The photos: all of them, those that a search found, or those ranked by quality or anomaly.

import { button, element, iconButton, refill } from "./elements.js";
import { activeFilters, createFilters } from "./filters.js";
import { Grid } from "./grid.js";
import { createListControls } from "./list_controls.js";
import { note, nothingFound, nothingToAsk, title } from "./list_words.js";
import { closingMenus } from "./menus.js";
import { photoList } from "./photo_list.js";
import { createSearchBox } from "./search_box.js";
import { Selection } from "./selection.js";
import { errorState, sentence } from "./states.js";
import { address, noFilters, partOf, readState, request } from "./url_state.js";

const SKELETON_TILES = 60;

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
    this.opening = null;
    this.turn = 0;
    const failed = (error) => this.warn(error);
    this.selection = new Selection(page, () => this.grid.redrawSelection());
    this.grid = new Grid(this.gridActions(), this.selection, page.overview.has_files);
    this.controls = createListControls(page, this.grid, (changes) => this.go(changes));
    this.box = createSearchBox(page, {
      changed: (parts) => this.search(parts),
      done: () => this.focus(),
      failed,
    });
    this.filters = createFilters(page, {
      changed: (filters) => this.go({ filters }),
      loaded: () => this.drawChips(),
      failed,
    });
    this.keys = this.madeKeys();
    this.build(container);
    this.stopClosing = closingMenus(container);
    this.filters.openIfWide();
    this.selection.redraw();
  }

  build(container) {
    this.heading = element("h1", { tabindex: "-1" }, "Photos");
    this.note = element("p", { class: "note" });
    this.warning = element("p", { class: "warning", role: "alert", hidden: true });
    this.chips = element("ul", {
      class: "chips active-filters",
      "aria-label": "Filters in use",
      hidden: true,
    });
    this.outcome = element("div", { class: "outcome" }, skeleton());
    const told = element("div", { class: "told-of" }, this.heading, this.note);
    const bar = element("div", { class: "list-bar" }, told, this.controls.element);
    const beside = element(
      "div",
      { class: "photos-main" },
      bar,
      this.warning,
      this.chips,
      this.outcome,
    );
    container.append(
      element("div", { class: "search-bar" }, this.filters.opener, this.box.element),
      element("div", { class: "beside" }, this.filters.element, beside),
      this.selection.element,
    );
  }

  leave() {
    this.turn += 1;
    this.opening?.close();
    this.grid.leave();
    this.filters.leave();
    this.box.leave();
    this.stopClosing();
  }

  gridActions() {
    return {
      open: (place) => this.open(place),
      similar: (place) => this.similar(place),
      select: (place, { isRange }) => this.select(place, isRange),
    };
  }

  madeKeys() {
    const onActive = (action) => (event) => this.hasGrid() && action(this.grid.active, event);
    return {
      "/": { does: "search; ↓ goes on to the photos", action: () => this.box.focus() },
      "ArrowLeft ArrowRight ArrowUp ArrowDown": { does: "move from photo to photo" },
      "Home End PageUp PageDown": { does: "move by rows and screens" },
      Enter: { does: "open the photo" },
      s: { does: "find similar photos", action: onActive((place) => this.similar(place)) },
      x: {
        does: "select; with Shift, up to here",
        action: onActive((place, { shiftKey }) => this.select(place, shiftKey)),
      },
      f: { does: "open or close the filters", action: () => this.filters.opener.click() },
      "+": { does: "larger photos", action: () => this.controls.changeSize(1) },
      "-": { does: "smaller photos", action: () => this.controls.changeSize(-1) },
      Escape: { does: "clear the selection", action: () => this.selection.clear() },
    };
  }

  hasGrid() {
    return this.outcome.contains(this.grid.element);
  }

  focus() {
    if (this.hasGrid()) this.grid.focus(this.grid.active);
    else this.heading.focus();
  }

  go(changes) {
    this.page.go(address({ ...this.state, ...changes }));
  }

  // Ranked lists have no search; one that is given up leads back to all photos.
  search(parts) {
    this.go({ parts, list: null, space: parts.length ? this.state.space : null });
  }

  open(place) {
    const photo = this.list.get(place);
    if (photo) this.page.openPhoto(photo.image_id, this.list);
  }

  photoClosed(id) {
    const place = this.list?.placeOf(id) ?? -1;
    if (place >= 0 && this.hasGrid()) this.grid.focus(place);
  }

  similar(place) {
    const photo = this.list.get(place);
    if (photo) this.go({ parts: [partOf(`id:${photo.image_id}`)], list: null, space: null });
  }

  async select(place, isRange) {
    const from = this.selection.anchor;
    if (isRange && from !== null)
      await this.selectRange(Math.min(from, place), Math.max(from, place));
    else if (this.list.get(place)) this.selection.toggle(this.list.get(place), place);
  }

  async selectRange(from, to) {
    try {
      this.selection.add(await this.list.between(from, to));
    } catch (error) {
      this.warn(error);
    }
  }

  async update(parameters) {
    const mine = ++this.turn;
    this.opening?.close();
    this.state = readState(parameters);
    this.drawControls();
    const instead = nothingToAsk(this.state, this.page.overview, {
      addWords: () => this.box.focus(),
      showAll: () => this.search([]),
    });
    if (instead) this.drawInstead(instead);
    else await this.ask(mine, parameters);
    this.filters.load();
  }

  // A list that is asked for takes the place of the last one when its first page is there.
  async ask(mine, parameters) {
    this.outcome.classList.add("waiting");
    this.heading.setAttribute("aria-busy", "true");
    const list = photoList(this.page.api, request(this.state));
    this.opening = list;
    try {
      await list.open();
      if (mine === this.turn) this.drawList(list);
    } catch (error) {
      if (mine === this.turn) this.drawError(error, parameters);
    }
  }

  drawControls() {
    this.warning.hidden = true;
    this.box.update(this.state.parts);
    this.filters.update(this.state.filters);
    this.controls.update(this.state);
    this.drawChips();
  }

  drawChips() {
    const chips = activeFilters(this.state.filters, this.filters.folderName);
    this.chips.hidden = !chips.length;
    this.chips.replaceChildren(...chips.map(({ name, without }) => this.chip(name, without)));
  }

  chip(name, without) {
    const remove = () => this.go({ filters: without });
    return element(
      "li",
      { class: "chip" },
      element("bdi", { class: "what" }, name),
      iconButton("close", `Remove the filter ${name}`, remove, { class: "" }),
    );
  }

  // Says what is shown now, with its heading and note, and shows it.
  tell(heading, words, shown) {
    this.heading.removeAttribute("aria-busy");
    this.outcome.classList.remove("waiting");
    this.heading.textContent = heading;
    this.note.textContent = words;
    if (!this.outcome.contains(shown)) refill(this.outcome, shown);
  }

  drawList(list) {
    const { overview } = this.page;
    this.list = list;
    list.onerror = (error) => this.warn(error);
    const isFiltered = activeFilters(this.state.filters).length > 0;
    const removeFilters = isFiltered ? () => this.go({ filters: noFilters() }) : null;
    const shown = list.length
      ? this.grid.element
      : nothingFound(this.state, overview, removeFilters);
    this.tell(title(this.state, list.length, overview), note(this.state, list), shown);
    this.page.announce(`${this.heading.textContent}. ${this.note.textContent}`);
    if (list.length) this.grid.show(list, this.state.list);
  }

  drawInstead(state) {
    this.list = null;
    this.tell(title(this.state, 0, this.page.overview), "", state);
  }

  drawError(error, parameters) {
    const { filters, parts, space } = this.state;
    const withoutCondition = () => this.go({ filters: { ...filters, where: null } });
    const state = errorState(
      error,
      () => this.update(parameters),
      filters.where && button("Remove the condition", withoutCondition),
      space && button("Choose the space automatically", () => this.go({ space: null })),
      parts.length > 0 && button("Show all photos", () => this.search([])),
    );
    this.list = null;
    this.tell("Photos", "", state);
  }

  warn(error) {
    this.warning.textContent = sentence(error.message);
    this.warning.hidden = false;
  }
}

function skeleton() {
  const tiles = Array.from({ length: SKELETON_TILES }, () => element("div"));
  return element("div", { class: "skeleton", "aria-hidden": "true" }, ...tiles);
}
