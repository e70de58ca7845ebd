// The groups as one long list, in blocks. Only blocks near the screen hold their groups, and only
// groups near it their photos, so that tens of thousands stay smooth; of others there is the room
// that they take.

import { ApiError, get } from "./api.js";
import { drawVerdict, missingPicture, photoCard } from "./duplicate_card.js";
import { photosOf } from "./duplicate_decisions.js";
import { button, element } from "./elements.js";
import { count, counted, shownBytes, shownShare } from "./format.js";
import { usesKeys } from "./help.js";

// Copies of one group that are shown at first; a folder of blank scans may have thousands.
const SHOWN_COPIES = 60;
const BLOCK_GROUPS = 20;
const BLOCK_MARGIN = "6000px 0px";
const GROUP_MARGIN = "1500px 0px";

// What is behind the bar is not in view.
const BAR_PIXELS = 64;

// Of a group that was not shown yet: one row of photos on a wide screen.
const GROUP_PIXELS = 560;

export class GroupList {
  #decisions;
  #actions;
  #entries = [];
  #entryOf = new Map();
  #current = null;
  #blocks = new Map();
  #nearBlocks = watched(BLOCK_MARGIN, (seen) => this.#reattach(seen));
  #nearGroups = watched(GROUP_MARGIN, (seen) => this.#refill(seen));

  // `actions` has compare(group, photo), told which photo, and open(group, photo).
  constructor(decisions, actions) {
    this.#decisions = decisions;
    this.#actions = actions;
    this.element = element("div", { class: "groups" });
    this.element.addEventListener("focusin", ({ target }) => this.#mark(target.closest(".photo")));
    this.element.addEventListener("keydown", (event) => this.#press(event));
  }

  // The group and the photo that have the focus, or had it last; null before.
  get current() {
    return this.#current;
  }

  add(groups) {
    for (let start = 0; start < groups.length; start += BLOCK_GROUPS) {
      this.#addBlock(groups.slice(start, start + BLOCK_GROUPS));
    }
  }

  // Draw what is decided on groups; null for all that are shown.
  draw(groups) {
    const entries = groups ? groups.map((group) => this.#entryOf.get(group)) : this.#entries;
    entries.filter((entry) => entry?.isFilled).forEach((entry) => this.#draw(entry));
  }

  close() {
    this.#nearBlocks.disconnect();
    this.#nearGroups.disconnect();
  }

  // Give the focus to the first copy of the next group, or of one before: it waits for a decision.
  goToGroup(step) {
    const entry = this.#entries[this.#current ? this.#current.number + step : this.#firstInView()];
    if (!entry) return;
    this.#attach(entry.block);
    this.#fill(entry);
    entry.section.scrollIntoView();
    this.#focus(entry, 1, { preventScroll: true });
  }

  // Give the focus to the photo that comes so many places after the current one in its group.
  goToPhoto(step) {
    if (!this.#current) this.goToGroup(0);
    if (this.#current) this.#focus(this.#entries[this.#current.number], this.#current.place + step);
  }

  goTo(group, id) {
    const entry = this.#entryOf.get(group);
    const place = photosOf(group).findIndex((photo) => photo.image_id === id);
    if (entry) this.#focus(entry, place);
  }

  // The photo that comes so many copies after another, in its group or in the next ones.
  copyAfter(group, photo, step) {
    const { number } = this.#entryOf.get(group);
    const place = photosOf(group).indexOf(photo) + step;
    if (place >= 1 && place <= group.copies.length) return { group, photo: photosOf(group)[place] };
    const next = this.#entries[number + step]?.group;
    return next ? { group: next, photo: next.copies.at(step > 0 ? 0 : -1).photo } : null;
  }

  #addBlock(groups) {
    const block = element("div");
    block.style.minHeight = `${groups.length * GROUP_PIXELS}px`;
    const start = this.#entries.length;
    const entries = groups.map((group, place) => this.#entry(group, start + place, block));
    entries.forEach((entry) => this.#entryOf.set(entry.section, entry).set(entry.group, entry));
    this.#entries.push(...entries);
    this.#blocks.set(block, entries);
    this.element.append(block);
    this.#nearBlocks.observe(block);
  }

  #reattach(seen) {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) this.#attach(target);
      else if (!target.contains(document.activeElement)) this.#detach(target);
    }
  }

  #attach(block) {
    if (block.hasChildNodes()) return;
    const sections = this.#blocks.get(block).map(({ section }) => section);
    block.append(...sections);
    block.style.minHeight = "";
    sections.forEach((section) => this.#nearGroups.observe(section));
  }

  #detach(block) {
    if (!block.hasChildNodes()) return;
    // The room stays, or all that is below would jump.
    block.style.minHeight = `${block.offsetHeight}px`;
    for (const entry of this.#blocks.get(block)) {
      this.#nearGroups.unobserve(entry.section);
      this.#empty(entry);
    }
    block.replaceChildren();
  }

  #entry(group, number, block) {
    const heading = `group-${number + 1}`;
    const { image_id: keeper } = group.keeper;
    const keepAll = button("Keep all", () => this.#decisions.keepAll(group, keeper), {
      class: "keep-all",
      "aria-keyshortcuts": "a",
      "aria-describedby": heading,
    });
    const section = element(
      "section",
      { class: "group", "aria-labelledby": heading },
      element(
        "div",
        { class: "heading" },
        element("h2", { id: heading }, `Group ${count(number + 1)}`),
        element("p", {}, groupText(group)),
        keepAll,
      ),
    );
    return { group, number, block, section, keepAll, isFilled: false, shown: SHOWN_COPIES };
  }

  #refill(seen) {
    for (const { target, isIntersecting } of seen) {
      const entry = this.#entryOf.get(target);
      if (isIntersecting) this.#fill(entry);
      else if (!target.contains(document.activeElement)) this.#empty(entry);
    }
  }

  #fill(entry) {
    if (entry.isFilled) return;
    const { group, number, section, shown } = entry;
    const photos = photosOf(group).slice(0, shown + 1);
    const cards = photos.map((_, place) =>
      photoCard(number + 1, group, place, this.#cardActions(entry)),
    );
    const arrangement = photos.length === 2 ? "photos pair" : "photos";
    section.append(element("div", { class: arrangement }, cards));
    if (photos.length <= group.copies.length) section.append(this.#moreButton(entry));
    section.style.minHeight = "";
    entry.isFilled = true;
    this.#draw(entry);
  }

  #empty(entry) {
    if (!entry.isFilled) return;
    entry.section.style.minHeight = `${entry.section.offsetHeight}px`;
    entry.section.querySelectorAll(".photos, .more").forEach((part) => part.remove());
    entry.isFilled = false;
  }

  #moreButton(entry) {
    const left = entry.group.copies.length - entry.shown;
    return button(`Show ${counted(left, "more copy", "more copies")}`, () => this.#showAll(entry), {
      class: "more",
    });
  }

  #showAll(entry) {
    const place = entry.shown + 1;
    entry.shown = entry.group.copies.length;
    this.#empty(entry);
    this.#focus(entry, place);
  }

  #cardActions(entry) {
    const { group } = entry;
    return {
      compare: (photo) => this.#actions.compare(group, photo),
      toggle: (photo) => this.#decisions.toggle(group, photo.image_id),
      makeKeeper: (photo) => {
        this.#decisions.makeKeeper(group, photo.image_id);
        this.goTo(group, photo.image_id);
      },
      cannotShow: (photo, image) => this.#cannotShow(group, photo, image),
    };
  }

  // Show why, and trash nothing that nobody can see.
  async #cannotShow(group, photo, image) {
    const reason = await reasonOf(photo);
    if (reason === null && !image.dataset.isRetried) {
      image.dataset.isRetried = "yes";
      image.srcset = image.srcset;
      return;
    }
    image.closest(".picture")?.replaceWith(missingPicture(reason ?? "This photo cannot be shown."));
    this.#decisions.cannotShow(group, photo.image_id);
  }

  #draw({ group, section, keepAll }) {
    const photos = photosOf(group);
    for (const card of section.querySelectorAll(".photo")) {
      const id = photos[card.dataset.place].image_id;
      drawVerdict(card, this.#decisions.verdict(group, id), {
        canShow: this.#decisions.canShow(id),
        canChoose: this.#decisions.canChoose(group, id),
      });
    }
    keepAll.disabled = !this.#decisions.of(group).trash.length;
  }

  #focus(entry, place, options) {
    if (place < 0 || place > entry.group.copies.length) return;
    if (place > entry.shown) entry.shown = entry.group.copies.length;
    this.#attach(entry.block);
    if (!this.#cardAt(entry, place)) {
      this.#empty(entry);
      this.#fill(entry);
    }
    this.#cardAt(entry, place).focus(options);
  }

  #cardAt({ section }, place) {
    return section.querySelectorAll(".photo")[place];
  }

  // Keys of a photo that has the focus itself; Space and Enter press what is in it.
  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !usesKeys()) return;
    const { group, photo, place } = this.#current ?? {};
    const isPhoto = event.target.matches(".photo");
    if (photo && /^[1-9]$/.test(event.key)) this.goToPhoto(Number(event.key) - 1 - place);
    else if (isPhoto && event.key === " ") this.#decisions.toggle(group, photo.image_id);
    else if (isPhoto && event.key === "Enter") this.#actions.open(group, photo);
    else return;
    event.preventDefault();
  }

  #mark(card) {
    if (!card) return;
    this.element.querySelector(".photo.current")?.classList.remove("current");
    card.classList.add("current");
    const { group, number } = this.#entryOf.get(card.closest(".group"));
    const place = Number(card.dataset.place);
    this.#current = { group, number, place, photo: photosOf(group)[place] };
  }

  #firstInView() {
    const isInView = ({ section }) => section.getBoundingClientRect().bottom > BAR_PIXELS;
    return this.#entries.findIndex(isInView);
  }
}

const watched = (rootMargin, onSeen) => new IntersectionObserver(onSeen, { rootMargin });

// An image tells no reason; the same address asked for as text does. Null if it came after all.
async function reasonOf(photo) {
  try {
    await get(`/images/${photo.image_id}/thumbnail`, { side: 256 });
  } catch (error) {
    if (error instanceof ApiError) return error.message;
  }
  return null;
}

function groupText(group) {
  const bytes = group.copies.reduce((sum, { photo }) => sum + (photo.file_size ?? 0), 0);
  return (
    `${counted(group.copies.length, "copy", "copies")}, ${shownBytes(bytes)}; ` +
    `smallest similarity ${shownShare(group.smallest_similarity)}`
  );
}
