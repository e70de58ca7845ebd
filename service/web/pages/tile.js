// One photo in the grid.

import { drawnIcon, element, refill } from "./elements.js";
import { shownDate, shownName, shownShare, thumbnailUrl } from "./format.js";

// A thumbnail that could not be had is asked for once more: the server may have been busy.
const RETRY_MILLISECONDS = 2000;

export function createTile(place, column) {
  return element("div", {
    class: "tile",
    role: "gridcell",
    tabindex: "-1",
    "aria-colindex": column + 1,
    "aria-selected": "false",
    "aria-busy": "true",
    "data-place": place,
  });
}

// `list` is what the photo is a part of: "quality", "anomalies" or null; it decides the caption.
export function fillTile(tile, photo, { list, hasFile }) {
  tile.photo = photo;
  tile.removeAttribute("aria-busy");
  tile.setAttribute("aria-label", label(photo));
  const shown = hasFile ? image(tile) : missing(photo, "");
  const picture = element("div", { class: "picture" }, shown);
  refill(tile, picture, ...overlays(photo), list && caption(photo, list));
}

function label(photo) {
  const facts = [
    shownName(photo.path),
    photo.similarity !== undefined && `similarity ${shownShare(photo.similarity)}`,
    photo.reason,
    photo.taken_at && `taken ${shownDate(photo.taken_at)}`,
  ];
  return facts.filter(Boolean).join(", ");
}

function image(tile) {
  const made = element("img", { alt: "", decoding: "async", draggable: "false" });
  made.addEventListener("load", () => made.classList.add("there"));
  made.addEventListener("error", () => retryOrTell(tile, made));
  return made;
}

function missing({ path }, why) {
  return element("p", { class: "missing" }, why, element("bdi", {}, shownName(path)));
}

function retryOrTell(tile, failed) {
  if (!failed.hasAttribute("src")) return;
  if (failed.dataset.tried) {
    failed.replaceWith(missing(tile.photo, "Cannot be shown: "));
    return;
  }
  failed.dataset.tried = "yes";
  setTimeout(() => failed.isConnected && loadThumbnail(tile), RETRY_MILLISECONDS);
}

export function needsThumbnail(tile) {
  return tile.querySelector("img:not([src])") !== null;
}

export function loadThumbnail(tile) {
  tile.querySelector("img").src = thumbnailUrl(tile.photo.image_id);
}

// Browsers give up loading an image whose address is taken away.
export function dropThumbnail(tile) {
  tile.querySelector("img")?.removeAttribute("src");
}

// Both buttons are for the pointer; the grid has keys for what they do.
function overlays(photo) {
  const similarity = photo.similarity;
  return [
    overlay("check", "Select", { class: "choose", title: "Select (x)" }),
    overlay("similar", "Find similar photos", { class: "alike", title: "Similar (s)" }),
    similarity !== undefined && element("span", { class: "cosine" }, shownShare(similarity)),
  ];
}

// The grid listens to their clicks.
function overlay(icon, label, attributes) {
  return element(
    "button",
    { type: "button", tabindex: "-1", "aria-label": label, ...attributes },
    drawnIcon(icon),
  );
}

function caption(photo, list) {
  const number = list === "quality" ? photo.quality : photo.anomaly;
  const told = list === "quality" ? photo.reason || "nothing holds it down" : photo.reason;
  return element(
    "p",
    { class: "caption", title: told },
    element("b", {}, list === "quality" ? shownShare(number) : number.toFixed(2)),
    ` ${told}`,
  );
}

export function markSelected(tile, isSelected) {
  tile.setAttribute("aria-selected", isSelected);
}
