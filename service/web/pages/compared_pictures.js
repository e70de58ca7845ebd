// Two photos that are looked at with one lens: the same part of both, as large, side by side or in
// one place. `zoom` 1 fits them into their panes; x and y in [0, 1] are what is in the middle.

import { element } from "./elements.js";
import { originalUrl, thumbnailUrl } from "./format.js";

const PREVIEW_PIXELS = 1280;
const MAX_ZOOM = 40;
const ZOOM_STEP = 1.25;
const PAN_STEP = 0.15;
const WHEEL_NOTCH = 100;

// Formats that every browser shows; of others there is the preview only.
const SHOWN_FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP"];

// How a copy that lies otherwise comes to lie like its keeper, by how its difference starts.
const TURNS = {
  mirrored: "scaleX(-1)",
  flipped: "scaleY(-1)",
  "upside down": "rotate(180deg)",
  "turned right": "rotate(-90deg)",
  "turned left": "rotate(90deg)",
};

// Return what turns a copy back, null if it lies like its keeper, or on its side and mirrored.
export const turnOf = (copy) => TURNS[copy.difference.split(", ")[0]] ?? null;

export class ComparedPictures {
  #panes;
  #onZoom;
  #lens = { zoom: 1, x: 0.5, y: 0.5 };
  #pointers = new Map();
  #resized = new ResizeObserver(() => this.draw());

  // `onZoom` is told how many of the screen's pixels a pixel of the first photo takes, along a
  // side; `onMissing` which of the two, 0 or 1, cannot be shown.
  constructor({ onZoom, onMissing }) {
    this.#onZoom = onZoom;
    this.#panes = [0, 1].map((number) => this.#pane(() => onMissing(number)));
    this.elements = this.#panes.map(({ element: pane }) => pane);
  }

  show(photos) {
    this.#lens = { zoom: 1, x: 0.5, y: 0.5 };
    photos.forEach((photo, side) => this.#load(this.#panes[side], photo));
    this.turnBack(null);
  }

  // Turn the second photo as `turnOf` tells; null leaves it as it is.
  turnBack(turn) {
    this.#panes[1].turn = turn;
    this.draw();
  }

  zoomBy(steps, at) {
    this.#zoomTo(this.#lens.zoom * ZOOM_STEP ** steps, at);
  }

  fit() {
    this.#zoomTo(1);
  }

  showPixels() {
    this.#zoomTo(this.#pixelZoom);
  }

  // At which a pixel of the first photo is one of the screen.
  get #pixelZoom() {
    const [first] = this.#panes;
    const { width } = fitted(first);
    return width ? pixelWidth(first) / (width * devicePixelRatio) : 1;
  }

  pan(right, down) {
    const { zoom, x, y } = this.#lens;
    this.#look({ zoom, x: x + (right * PAN_STEP) / zoom, y: y + (down * PAN_STEP) / zoom });
  }

  draw() {
    for (const pane of this.#panes) this.#place(pane);
    const [first] = this.#panes;
    const { width } = fitted(first);
    if (width) this.#onZoom((width * this.#lens.zoom * devicePixelRatio) / pixelWidth(first));
  }

  #pane(onMissing) {
    const image = element("img", { alt: "", draggable: "false" });
    const pane = { element: element("div", { class: "pane" }, image), image, photo: null, turn: null };
    image.addEventListener("load", () => {
      image.hidden = false;
      this.draw();
    });
    image.addEventListener("error", onMissing);
    this.#resized.observe(pane.element);
    this.#listen(pane.element);
    return pane;
  }

  #load(pane, photo) {
    Object.assign(pane, { photo, isOriginal: false });
    // The photo before must not stand above what is told of this one.
    pane.image.hidden = true;
    pane.image.src = thumbnailUrl(photo.image_id, PREVIEW_PIXELS);
  }

  #zoomTo(zoom, { x, y } = this.#lens) {
    const before = this.#lens;
    const after = Math.min(Math.max(zoom, Math.min(1, this.#pixelZoom)), MAX_ZOOM);
    // What is under the pointer stays there.
    const share = before.zoom / after;
    this.#look({ zoom: after, x: x + (before.x - x) * share, y: y + (before.y - y) * share });
  }

  #look({ zoom, x, y }) {
    const { width, height } = fitted(this.#panes[0]);
    const room = this.#panes[0].element;
    this.#lens = {
      zoom,
      x: held(x, room.clientWidth / (width * zoom)),
      y: held(y, room.clientHeight / (height * zoom)),
    };
    this.draw();
  }

  #place(pane) {
    const { width, height } = fitted(pane);
    if (!width) return;
    const { zoom } = this.#lens;
    const x = held(this.#lens.x, pane.element.clientWidth / (width * zoom));
    const y = held(this.#lens.y, pane.element.clientHeight / (height * zoom));
    const middle = {
      x: pane.element.clientWidth / 2 + (0.5 - x) * width * zoom,
      y: pane.element.clientHeight / 2 + (0.5 - y) * height * zoom,
    };
    const [across, down] = isOnSide(pane) ? [height, width] : [width, height];
    Object.assign(pane.image.style, {
      width: `${across * zoom}px`,
      height: `${down * zoom}px`,
      left: `${middle.x - (across * zoom) / 2}px`,
      top: `${middle.y - (down * zoom) / 2}px`,
      transform: pane.turn ?? "",
    });
    this.#sharpen(pane, Math.max(width, height) * zoom * devicePixelRatio);
  }

  // Take the file itself once the preview has too few pixels.
  async #sharpen(pane, pixels) {
    const { photo } = pane;
    if (pane.isOriginal || pixels <= PREVIEW_PIXELS || !SHOWN_FORMATS.includes(photo.format)) return;
    pane.isOriginal = true;
    const original = element("img", { src: originalUrl(photo.image_id) });
    try {
      await original.decode();
      if (pane.photo === photo) pane.image.src = original.src;
    } catch {
      // The preview stays.
    }
  }

  #listen(pane) {
    pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      // A notch of a wheel is a step, of which a touchpad tells small parts.
      const steps = Math.max(-1, Math.min(1, -event.deltaY / WHEEL_NOTCH));
      this.zoomBy(steps, this.#under(pane, event));
    });
    pane.addEventListener("dblclick", (event) => {
      if (this.#lens.zoom > 1) this.fit();
      else this.zoomBy(5, this.#under(pane, event));
    });
    pane.addEventListener("pointerdown", (event) => {
      pane.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, event);
    });
    pane.addEventListener("pointermove", (event) => this.#drag(pane, event));
    for (const end of ["pointerup", "pointercancel"]) {
      pane.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
  }

  #drag(pane, event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.#pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    this.#pointers.set(event.pointerId, event);
    const { zoom, x, y } = this.#lens;
    if (other) {
      const spread = apart(event, other) / apart(before, other);
      this.#zoomTo(zoom * spread, this.#under(pane, event));
      return;
    }
    const { width, height } = fitted(this.#panes[0]);
    this.#look({
      zoom,
      x: x - (event.clientX - before.clientX) / (width * zoom),
      y: y - (event.clientY - before.clientY) / (height * zoom),
    });
  }

  // The place in the photo that an event points at.
  #under(pane, event) {
    const { zoom, x, y } = this.#lens;
    const { width, height } = fitted(this.#panes[this.elements.indexOf(pane)]);
    if (!width) return this.#lens;
    const box = pane.getBoundingClientRect();
    return {
      x: x + (event.clientX - box.left - box.width / 2) / (width * zoom),
      y: y + (event.clientY - box.top - box.height / 2) / (height * zoom),
    };
  }
}

const isOnSide = ({ turn }) => turn?.includes("90deg") ?? false;
const apart = (one, other) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;

// Keep the middle so far from the edges that no empty room shows; `share` of the photo is seen.
const held = (middle, share) =>
  share >= 1 ? 0.5 : Math.min(Math.max(middle, share / 2), 1 - share / 2);

// The size at which a photo, as it is turned, fits into its pane; 0 while it is not there.
function fitted(pane) {
  const { naturalWidth, naturalHeight } = pane.image;
  const [width, height] = isOnSide(pane) ? [naturalHeight, naturalWidth] : [naturalWidth, naturalHeight];
  if (!width) return { width: 0, height: 0 };
  const scale = Math.min(pane.element.clientWidth / width, pane.element.clientHeight / height);
  return { width: width * scale, height: height * scale };
}

// How many pixels of the file lie along the width that is shown.
function pixelWidth({ photo, image: { naturalWidth, naturalHeight } }) {
  const longest = Math.max(photo.width ?? 0, photo.height ?? 0) || PREVIEW_PIXELS;
  return (naturalWidth / Math.max(naturalWidth, naturalHeight)) * longest;
}
