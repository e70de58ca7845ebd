// The dialog in which a copy is compared with the photo proposed to be kept: side by side, or in
// one place, where changing from one to the other shows every difference.

import { ComparedPictures, turnOf } from "./compared_pictures.js";
import { differenceOf, factsOf, VERDICT_WORDS } from "./duplicate_card.js";
import { photosOf } from "./duplicate_decisions.js";
import { button, element, iconButton } from "./elements.js";
import { shownFolder, shownName } from "./format.js";
import { usesKeys } from "./help.js";

export class Comparison {
  #decisions;
  #list;
  #group;
  #copy;
  #sides = [createSide(), createSide()];
  #percent = element("output", { class: "percent" });
  #difference = element("h2", { id: "compare-title" });
  #stage = element("div", { class: "compared", tabindex: "0", role: "group", "aria-label": "Photos" });
  #pictures = new ComparedPictures({
    onZoom: (share) => (this.#percent.textContent = `${Math.round(share * 100)} %`),
    onMissing: (number) => this.#sides[number].facts.replaceChildren("This photo cannot be shown."),
  });
  #actions = {
    d: ["Side by side", () => this.#arrange("side")],
    f: ["Swap", () => this.#flicker()],
    t: ["Turn back", () => this.#turnBack()],
    "-": ["−", () => this.#pictures.zoomBy(-1)],
    "+": ["+", () => this.#pictures.zoomBy(1)],
    0: ["Fit", () => this.#pictures.fit()],
    1: ["1:1", () => this.#pictures.showPixels()],
    k: ["Previous", () => this.#step(-1)],
    j: ["Next", () => this.#step(1)],
    z: ["Undo", () => this.#undo()],
    m: ["Make keeper", () => this.#makeKeeper()],
    x: ["Trash", () => this.#toggle()],
  };
  #silent = {
    " ": () => this.#flicker(),
    "=": () => this.#pictures.zoomBy(1),
    c: () => this.element.close(),
    ArrowLeft: () => this.#pictures.pan(-1, 0),
    ArrowRight: () => this.#pictures.pan(1, 0),
    ArrowUp: () => this.#pictures.pan(0, -1),
    ArrowDown: () => this.#pictures.pan(0, 1),
  };
  #buttons = Object.fromEntries(
    Object.entries(this.#actions).map(([key, [label, action]]) => [key, keyButton(key, label, action)]),
  );

  // `list` is the GroupList whose photos are compared.
  constructor(decisions, list) {
    this.#decisions = decisions;
    this.#list = list;
    this.element = this.#dialog();
  }

  // Compare a copy with the photo proposed as keeper; told the latter, the first copy.
  show(group, photo) {
    this.#group = group;
    this.#copy = group.copies.find((copy) => copy.photo === photo) ?? group.copies[0];
    if (!this.element.open) this.#open();
    this.#pictures.show(this.#photos);
    this.#buttons.t.hidden = turnOf(this.#copy) === null;
    press(this.#buttons.t, false);
    this.#stage.dataset.front = "1";
    this.#difference.textContent = differenceOf(this.#copy);
    this.#photos.forEach((shown, number) => describe(this.#sides[number], shown));
    this.#buttons.k.disabled = !this.#list.copyAfter(group, this.#copy.photo, -1);
    this.#buttons.j.disabled = !this.#list.copyAfter(group, this.#copy.photo, 1);
    this.draw();
  }

  // Show what is decided on the two photos.
  draw() {
    if (!this.element.open) return;
    const verdicts = this.#photos.map((photo) => this.#decisions.verdict(this.#group, photo.image_id));
    verdicts.forEach((verdict, number) => {
      this.#sides[number].figure.dataset.verdict = verdict;
      this.#sides[number].word.textContent = VERDICT_WORDS[verdict];
    });
    const { m, x, z } = this.#buttons;
    const { image_id: id } = this.#copy.photo;
    m.disabled = verdicts[1] === "keeper" || !this.#decisions.canShow(id);
    x.disabled = verdicts[1] === "keeper" || !this.#decisions.canChoose(this.#group, id);
    x.firstChild.textContent = verdicts[1] === "trash" ? "Keep" : "Trash";
    x.classList.toggle("danger", verdicts[1] !== "trash");
    z.disabled = !this.#decisions.canUndo;
  }

  get #photos() {
    return [this.#group.keeper, this.#copy.photo];
  }

  #dialog() {
    const { d, f, t, k, j, z, m, x } = this.#buttons;
    const [minus, plus, fit, pixels] = ["-", "+", "0", "1"].map((key) => this.#buttons[key]);
    this.#sides.forEach(({ figure }, number) => figure.prepend(this.#pictures.elements[number]));
    this.#stage.append(...this.#sides.map(({ figure }) => figure));
    const close = iconButton("close", "Close", () => this.element.close());
    const made = element(
      "dialog",
      { class: "compare", "aria-labelledby": "compare-title" },
      element("header", {}, this.#difference, close),
      this.#stage,
      element(
        "footer",
        {},
        element("div", { class: "lens" }, d, f, t, minus, this.#percent, plus, fit, pixels),
        element("div", { class: "decide" }, k, j, z, m, x),
      ),
    );
    made.addEventListener("keydown", (event) => this.#takeKey(event));
    made.addEventListener("close", () => this.#list.goTo(this.#group, this.#copy.photo.image_id));
    return made;
  }

  #open() {
    this.element.showModal();
    this.#arrange("side");
    this.#stage.focus();
  }

  #takeKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !usesKeys()) return;
    // Space presses the button that has the focus.
    if (event.key === " " && event.target !== this.#stage) return;
    const key = event.key.toLowerCase();
    const action = this.#silent[event.key] ?? this.#silent[key];
    if (action) action();
    else if (this.#buttons[key] && !this.#buttons[key].hidden) this.#buttons[key].click();
    else return;
    event.preventDefault();
  }

  #arrange(arrangement) {
    this.#stage.dataset.arrangement = arrangement;
    this.#stage.dataset.front = "1";
    press(this.#buttons.d, arrangement === "side");
    press(this.#buttons.f, arrangement === "flicker");
  }

  #flicker() {
    if (this.#stage.dataset.arrangement === "side") this.#arrange("flicker");
    else this.#stage.dataset.front = this.#stage.dataset.front === "0" ? "1" : "0";
  }

  #turnBack() {
    const isTurned = this.#buttons.t.getAttribute("aria-pressed") === "true";
    press(this.#buttons.t, !isTurned);
    this.#pictures.turnBack(isTurned ? null : turnOf(this.#copy));
  }

  #step(step) {
    const next = this.#list.copyAfter(this.#group, this.#copy.photo, step);
    if (next) this.show(next.group, next.photo);
  }

  #toggle() {
    this.#decisions.toggle(this.#group, this.#copy.photo.image_id);
  }

  // What was decided last may be about other photos, which are then shown.
  #undo() {
    const place = this.#decisions.undo();
    if (place) this.show(place.group, photoOf(place));
  }

  #makeKeeper() {
    this.#decisions.makeKeeper(this.#group, this.#copy.photo.image_id);
  }
}

function createSide() {
  const [word, name, folder, facts] = ["span", "bdi", "bdi", "p"].map((tag) => element(tag));
  const caption = element(
    "figcaption",
    {},
    element("p", { class: "name" }, element("strong", { class: "word" }, word), name),
    element("p", { class: "folder" }, folder),
    facts,
  );
  return { figure: element("figure", {}, caption), word, name, folder, facts };
}

function describe({ name, folder, facts }, photo) {
  name.textContent = shownName(photo.path);
  folder.textContent = shownFolder(photo.path);
  facts.textContent = factsOf(photo).join(" · ");
}

const NAMES = { "-": "Smaller", "+": "Larger", 1: "Pixel by pixel" };

// Its key is also a way to press it; a sign that is its key says so itself.
function keyButton(key, label, action) {
  const hint = label.length > 1 && element("kbd", { "aria-hidden": "true" }, key);
  const attributes = { "aria-keyshortcuts": key, "aria-label": NAMES[key] };
  return button([element("span", {}, label), hint], action, attributes);
}

const photoOf = ({ group, id }) => photosOf(group).find((photo) => photo.image_id === id);

const press = (pressed, isPressed) => pressed.setAttribute("aria-pressed", isPressed);
