// One photo in the grid.

import { drawnIcon, element } from "./elements.js";
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
export function fillTile(tile, photo, list) {
  tile.photo = photo;
  tile.removeAttribute("aria-busy");
  tile.setAttribute("aria-label", label(photo));
  tile.replaceChildren(picture(tile), ...overlays(photo), ...(list ? [caption(photo, list)] : []));
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

function picture(tile) {
  const image = element("img", { alt: "", decoding: "async", draggable: "false" });
  image.addEventListener("load", () => image.classList.add("there"));
  image.addEventListener("error", () => retryOrTell(tile, image));
  return element("div", { class: "picture" }, image);
}

function retryOrTell(tile, image) {
  if (!image.hasAttribute("src")) return;
  if (!image.dataset.tried) {
    image.dataset.tried = "yes";
    setTimeout(() => image.isConnected && loadThumbnail(tile), RETRY_MILLISECONDS);
    return;
  }
  const name = element("bdi", {}, shownName(tile.photo.path));
  image.replaceWith(element("p", { class: "missing" }, "Cannot be shown: ", name));
}

export function needsThumbnail(tile) {
  const image = tile.querySelector("img");
  return image !== null && !image.hasAttribute("src");
}

export function loadThumbnail(tile) {
  const image = tile.querySelector("img");
  if (image) image.src = thumbnailUrl(tile.photo.image_id);
}

// Browsers give up loading an image whose address is taken away.
export function dropThumbnail(tile) {
  tile.querySelector("img")?.removeAttribute("src");
}

// Both buttons are for the pointer; the grid has keys for what they do.
function overlays(photo) {
  const similarity = photo.similarity;
  return [
    element("button", { type: "button", class: "choose", tabindex: "-1", "aria-label": "Select", title: "Select (x)" }, drawnIcon("check")),
    element("button", { type: "button", class: "alike", tabindex: "-1", "aria-label": "Find similar photos", title: "Similar (s)" }, drawnIcon("similar")),
    similarity === undefined ? "" : element("span", { class: "cosine" }, shownShare(similarity)),
  ];
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
