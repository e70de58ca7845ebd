// The photos that were selected, and the bar with what can be done with them.

import { button, element } from "./elements.js";
import { counted } from "./format.js";
import { EXPORT_FORMATS, exportLink } from "./export.js";

// The server takes conditions of so many characters (service.conditions.MAX_CHARACTERS).
const MAX_CONDITION = 8000;

// What is selected stays so from search to search, and while another view is shown.
const selected = new Map();

export class Selection {
  // `changed()` is called after every change.
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.photos = selected;
    this.anchor = null;
    this.text = element("p", { role: "status" });
    this.links = element("div", {});
    this.exports = element(
      "details",
      { class: "menu up" },
      element("summary", {}, "Export"),
      this.links,
    );
    this.element = element(
      "div",
      { class: "selection", role: "region", "aria-label": "Selection", hidden: true },
      this.text,
      button("Copy paths", () => this.copy()),
      this.exports,
      button("Clear", () => this.clear()),
    );
  }

  has(id) {
    return this.photos.has(id);
  }

  toggle(photo, place) {
    this.anchor = place;
    if (!this.photos.delete(photo.image_id)) this.photos.set(photo.image_id, photo);
    this.redraw();
  }

  add(photos) {
    photos.forEach((photo) => this.photos.set(photo.image_id, photo));
    this.redraw();
  }

  clear() {
    this.photos.clear();
    this.anchor = null;
    this.redraw();
  }

  redraw() {
    const n = this.photos.size;
    this.element.hidden = n === 0;
    this.text.textContent = n ? `${counted(n, "photo")} selected` : "";
    const where = `image_id in (${[...this.photos.keys()].join(", ")})`;
    const links = EXPORT_FORMATS.map((format) => exportLink(this.page, format, { where }));
    const tooMany = element(
      "p",
      { class: "told" },
      "Too many to export by themselves: export the view, or copy the paths.",
    );
    this.links.replaceChildren(...(where.length > MAX_CONDITION ? [tooMany] : links));
    this.changed();
  }

  async copy() {
    const paths = [...this.photos.values()].map(({ path }) => path);
    const isCopied = await copied(paths.join("\n"));
    this.page.announce(
      isCopied ? `${counted(paths.length, "path")} copied` : "The browser did not allow to copy",
    );
    this.text.textContent = isCopied
      ? `${counted(paths.length, "path")} copied`
      : "Copying was not allowed";
  }
}

// Whether it could be copied: without https browsers offer no clipboard but on localhost.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByCommand(text);
  }
}

function copiedByCommand(text) {
  const field = element("textarea", { class: "unseen", readonly: true });
  field.value = text;
  (document.querySelector("dialog:modal") ?? document.body).append(field);
  const focused = document.activeElement;
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus?.({ preventScroll: true });
  return isCopied;
}
