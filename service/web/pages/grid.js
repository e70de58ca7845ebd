// A grid of photos of which only the rows in view exist. The page itself scrolls; rows are laid
// out by hand within an element as high as all of them.

import {
  createTile,
  dropThumbnail,
  fillTile,
  loadThumbnail,
  markSelected,
  needsThumbnail,
} from "./tile.js";
import { element } from "./elements.js";

export const TILE_SIZES = [84, 110, 168, 220, 300];

const GAP = 4;
// Lines of the reason below a photo, and what they are high.
const CAPTION_LINES = { quality: 2, anomalies: 3 };
const CAPTION_LINE_REM = 1.05;
const CAPTION_PADDING_REM = 0.8;
const OVERSCAN_ROWS = 2;
// Firefox draws nothing beyond 17.8 million pixels. In higher grids, which take a million photos,
// the page scrolls through more rows than it moves.
const MAX_HEIGHT = 12_000_000;
// Faster than this nobody sees the photos: nothing is asked for until the page is still.
const FAST_PIXELS_PER_MILLISECOND = 6;
const STILL_MILLISECONDS = 100;
const TYPICAL_ROWS_PER_PAGE = 4;

export class Grid {
  // `actions` has open(place), similar(place), select(place, { isRange }); `selection` has has(id).
  // Without files there are no thumbnails, and names instead.
  constructor(actions, selection, hasFiles) {
    this.actions = actions;
    this.selection = selection;
    this.hasFiles = hasFiles;
    this.list = null;
    this.kind = null;
    this.target = TILE_SIZES[0];
    this.active = 0;
    this.rows = new Map();
    this.columns = 1;
    this.isFast = false;
    this.hadFocus = false;
    this.last = { y: 0, time: 0 };
    this.element = element("div", {
      class: "grid",
      role: "grid",
      "aria-label": "Photos",
      "aria-multiselectable": "true",
    });
    this.listen();
  }

  listen() {
    this.controller = new AbortController();
    const { signal } = this.controller;
    addEventListener("scroll", () => this.scrolled(), { passive: true, signal });
    this.resizing = new ResizeObserver(() => this.layout());
    this.resizing.observe(this.element);
    addEventListener("resize", () => this.draw(), { signal });
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("focusin", ({ target }) => {
      const tile = target.closest(".tile");
      if (tile) this.activate(Number(tile.dataset.place));
    });
  }

  leave() {
    this.controller.abort();
    this.resizing.disconnect();
    clearTimeout(this.still);
    this.list?.close();
  }

  // `kind` decides the captions; see fillTile.
  show(list, kind) {
    this.list?.close();
    this.list = list;
    this.kind = kind;
    this.active = 0;
    list.onload = () => (list.length === this.length ? this.draw() : this.layout());
    this.clear();
    this.layout();
  }

  // What had the focus is made anew; the focus goes to the active tile then.
  clear() {
    this.hadFocus ||= this.element.contains(document.activeElement);
    for (const number of [...this.rows.keys()]) this.removeRow(number);
  }

  resize(target) {
    const place = this.element.contains(document.activeElement) ? this.active : this.firstInView();
    this.target = target;
    if (!this.list) return;
    this.clear();
    this.layout();
    this.scrollTo(place);
  }

  layout() {
    if (!this.list) return;
    const width = this.element.clientWidth;
    const columns = Math.max(Math.floor((width + GAP) / (this.target + GAP)), 2);
    const tile = (width - GAP * (columns - 1)) / columns;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const lines = CAPTION_LINES[this.kind] ?? 0;
    const caption = lines && (lines * CAPTION_LINE_REM + CAPTION_PADDING_REM) * rem;
    if (columns !== this.columns || this.list.length !== this.length) this.clear();
    this.columns = columns;
    this.length = this.list.length;
    this.tileHeight = tile + caption;
    this.rowHeight = this.tileHeight + GAP;
    this.nRows = Math.ceil(this.list.length / columns);
    this.height = this.nRows * this.rowHeight;
    this.element.style.height = `${Math.min(this.height, MAX_HEIGHT)}px`;
    this.element.style.setProperty("--columns", columns);
    this.element.style.setProperty("--caption", `${caption}px`);
    this.element.style.setProperty("--lines", lines);
    this.element.setAttribute("aria-rowcount", this.nRows);
    this.element.setAttribute("aria-colcount", columns);
    this.draw();
  }

  // How far the page has scrolled into the element, and into the rows.
  offsets() {
    const scrolled = -this.element.getBoundingClientRect().top;
    if (this.height <= MAX_HEIGHT || scrolled <= 0) return { scrolled, inRows: scrolled };
    const way = Math.max(MAX_HEIGHT - innerHeight, 1);
    return { scrolled, inRows: (Math.min(scrolled, way) / way) * (this.height - innerHeight) };
  }

  scrolled() {
    const now = performance.now();
    const speed = Math.abs(scrollY - this.last.y) / Math.max(now - this.last.time, 1);
    this.last = { y: scrollY, time: now };
    this.isFast = speed > FAST_PIXELS_PER_MILLISECOND;
    clearTimeout(this.still);
    this.still = setTimeout(() => {
      this.isFast = false;
      this.draw();
    }, STILL_MILLISECONDS);
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = null;
    if (!this.list || !this.element.isConnected) return;
    const { scrolled, inRows } = this.offsets();
    const first = this.rowAt(inRows) - OVERSCAN_ROWS;
    const last = this.rowAt(inRows + innerHeight) + OVERSCAN_ROWS;
    const wanted = this.wantedRows(Math.max(first, 0), Math.min(last, this.nRows - 1));
    for (const number of [...this.rows.keys()]) if (!wanted.has(number)) this.removeRow(number);
    for (const number of wanted) this.drawRow(number, scrolled - inRows);
    this.keepReachable(inRows);
    if (this.isFast) return;
    this.list.want(first * this.columns, (last + 1) * this.columns);
    this.loadThumbnails();
  }

  rowAt(offset) {
    return Math.floor(offset / this.rowHeight);
  }

  // The row that has the focus stays, wherever it is: the focus would be lost with it.
  wantedRows(first, last) {
    const wanted = new Set();
    for (let number = first; number <= last; number += 1) wanted.add(number);
    const focused = document.activeElement?.closest?.(".row");
    for (const [number, row] of this.rows) if (row === focused) wanted.add(number);
    return wanted;
  }

  removeRow(number) {
    const row = this.rows.get(number);
    row.querySelectorAll(".tile").forEach(dropThumbnail);
    row.remove();
    this.rows.delete(number);
  }

  drawRow(number, shift) {
    const row = this.rows.get(number) ?? this.createRow(number);
    row.style.transform = `translateY(${number * this.rowHeight + shift}px)`;
    row.style.height = `${this.tileHeight}px`;
    for (const tile of row.children) {
      const photo = this.list.get(Number(tile.dataset.place));
      if (photo && tile.photo !== photo) {
        fillTile(tile, photo, { list: this.kind, hasFile: this.hasFiles });
        markSelected(tile, this.selection.has(photo.image_id));
      }
    }
  }

  createRow(number) {
    const start = number * this.columns;
    const count = Math.min(this.columns, this.list.length - start);
    const tiles = Array.from({ length: count }, (_, column) => createTile(start + column, column));
    const row = element(
      "div",
      { class: "row", role: "row", "aria-rowindex": number + 1 },
      ...tiles,
    );
    this.rows.set(number, row);
    // In the order of the list, which is also that of a screen reader.
    const after = [...this.rows.keys()].filter((other) => other > number);
    const next = after.length ? this.rows.get(Math.min(...after)) : null;
    this.element.insertBefore(row, next);
    return row;
  }

  loadThumbnails() {
    const inView = [];
    const around = [];
    for (const row of this.rows.values()) {
      const { top, bottom } = row.getBoundingClientRect();
      (bottom > 0 && top < innerHeight ? inView : around).push(...row.children);
    }
    [...inView, ...around]
      .filter((tile) => tile.photo && needsThumbnail(tile))
      .forEach(loadThumbnail);
  }

  // One tile can be reached with Tab: the active one, or the first in view if that is away.
  keepReachable(inRows) {
    if (this.tile(this.active)) this.tile(this.active).tabIndex = 0;
    else this.activate(Math.max(Math.ceil(inRows / this.rowHeight), 0) * this.columns);
    if (this.hadFocus && this.tile(this.active)) {
      this.hadFocus = false;
      this.tile(this.active).focus({ preventScroll: true });
    }
  }

  tile(place) {
    const row = this.rows.get(Math.floor(place / this.columns));
    return row?.children[place % this.columns] ?? null;
  }

  activate(place) {
    const before = this.tile(this.active);
    if (before) before.tabIndex = -1;
    this.active = Math.max(0, Math.min(place, this.list.length - 1));
    const tile = this.tile(this.active);
    if (tile) tile.tabIndex = 0;
  }

  firstInView() {
    return Math.max(this.rowAt(this.offsets().inRows) * this.columns, 0);
  }

  // Brings a place into view, below the bar that sticks to the top, moving as little as possible.
  scrollTo(place) {
    const bar = document.querySelector(".search-bar")?.getBoundingClientRect().bottom ?? 0;
    const top = Math.floor(place / this.columns) * this.rowHeight;
    const { scrolled, inRows } = this.offsets();
    const above = top - inRows - Math.max(bar, 0) - GAP;
    const below = top + this.rowHeight - inRows - innerHeight;
    const move = above < 0 ? above : Math.max(below, 0);
    if (this.height <= MAX_HEIGHT) scrollBy(0, move);
    else
      scrollBy(
        0,
        ((inRows + move) * (MAX_HEIGHT - innerHeight)) / (this.height - innerHeight) - scrolled,
      );
    this.draw();
  }

  focus(place) {
    this.activate(place);
    this.scrollTo(this.active);
    this.tile(this.active)?.focus({ preventScroll: true });
  }

  redrawSelection() {
    for (const row of this.rows.values()) {
      for (const tile of row.children)
        if (tile.photo) markSelected(tile, this.selection.has(tile.photo.image_id));
    }
  }

  pressedOnTile(event) {
    if (event.key === "Enter") this.actions.open(this.active);
    else if (event.key === " ") this.actions.select(this.active, { isRange: event.shiftKey });
    else return false;
    event.preventDefault();
    return true;
  }

  clicked(event) {
    const tile = event.target.closest(".tile");
    if (!tile?.photo) return;
    const place = Number(tile.dataset.place);
    if (event.shiftKey) this.actions.select(place, { isRange: true });
    else if (event.target.closest(".choose") || event.ctrlKey || event.metaKey)
      this.actions.select(place, { isRange: false });
    else if (event.target.closest(".alike")) this.actions.similar(place);
    else this.actions.open(place);
  }

  pressed(event) {
    if (event.target.matches(".tile") && this.pressedOnTile(event)) return;
    if (event.ctrlKey && !["Home", "End"].includes(event.key)) return;
    const rows = Math.max(Math.floor(innerHeight / this.rowHeight) - 1, 1) || TYPICAL_ROWS_PER_PAGE;
    const lineStart = this.active - (this.active % this.columns);
    const target = {
      ArrowLeft: this.active - 1,
      ArrowRight: this.active + 1,
      ArrowUp: this.active - this.columns,
      ArrowDown: this.active + this.columns,
      PageUp: this.active - rows * this.columns,
      PageDown: this.active + rows * this.columns,
      Home: event.ctrlKey ? 0 : lineStart,
      End: event.ctrlKey ? this.list.length - 1 : lineStart + this.columns - 1,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const isWithin = target >= 0 && target < this.list.length;
    if (isWithin || event.key.startsWith("Page") || event.key === "End") this.focus(target);
  }
}
