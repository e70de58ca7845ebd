// One photo of a group: its picture, what is known of it, and the choice about it.

import { button, element } from "./elements.js";
import {
  shownBytes,
  shownDate,
  shownFolder,
  shownName,
  shownShare,
  shownSize,
  thumbnailUrl,
} from "./format.js";

export const VERDICT_WORDS = { keeper: "Keeper", trash: "Trash", keep: "Keep" };

const TIER_WORDS = {
  bytes: "same bytes",
  pixels: "same pixels",
  near: "near-duplicate",
  similar: "similar",
};

// What is known of a photo, always as many lines, so that cards can be compared.
export function factsOf(photo) {
  const bytes = photo.file_size === null ? "" : shownBytes(photo.file_size);
  return [
    shownSize(photo) ?? "size unknown",
    `${bytes} ${photo.format ?? ""}`.trim() || "file unknown",
    photo.taken_at === null ? "no date" : `taken ${shownDate(photo.taken_at)}`,
    photo.quality === null ? "quality unknown" : `quality ${shownShare(photo.quality)}`,
  ];
}

export function differenceOf(copy) {
  const told = [copy.difference, TIER_WORDS[copy.tier], `similarity ${shownShare(copy.similarity)}`];
  return [...new Set(told)].join(", ");
}

// The card of the photo at a place of its group, 0 for the proposed keeper. `actions` has
// compare, toggle and makeKeeper, told the photo, and cannotShow, told its image as well.
export function photoCard(name, group, place, actions) {
  const copy = place > 0 ? group.copies[place - 1] : null;
  const photo = copy ? copy.photo : group.keeper;
  const nameId = `name-${name}-${place}`;
  const word = element("span", { class: "word", id: `verdict-${name}-${place}` });
  return element(
    "article",
    {
      class: "photo",
      tabindex: "-1",
      "data-place": place,
      "aria-labelledby": `${nameId} ${word.id}`,
    },
    element("p", { class: "verdict" }, element("span", { class: "number" }, `${place + 1}`), word),
    picture(photo, group, nameId, actions),
    element("h3", { id: nameId }, element("bdi", {}, shownName(photo.path))),
    element("p", { class: "folder" }, element("bdi", {}, shownFolder(photo.path))),
    facts(photo, copy && group.keeper),
    element("p", { class: "remark" }, copy ? differenceOf(copy) : `Proposed as keeper: ${group.reason}`),
    choices(photo, nameId, actions),
  );
}

// Facts that differ from those of the proposed keeper stand out.
function facts(photo, keeper) {
  const known = keeper ? factsOf(keeper) : null;
  const lines = factsOf(photo).map((fact, line) =>
    element("li", { class: known && known[line] !== fact && "differs" }, fact),
  );
  return element("ul", { class: "known" }, lines);
}

function picture(photo, group, nameId, actions) {
  const image = element("img", {
    srcset: `${thumbnailUrl(photo.image_id, 256)} 256w, ${thumbnailUrl(photo.image_id, 1280)} 1280w`,
    sizes: group.copies.length === 1 ? "36rem" : "max(16rem, 11vw)",
    width: photo.width,
    height: photo.height,
    decoding: "async",
    alt: "",
  });
  image.addEventListener("error", () => actions.cannotShow(photo, image));
  const children = [image, element("span", { class: "hint" }, "Compare")];
  return button(children, () => actions.compare(photo), { class: "picture", "aria-describedby": nameId });
}

function choices(photo, nameId, actions) {
  const box = element("input", {
    type: "checkbox",
    "aria-describedby": nameId,
    onchange: () => actions.toggle(photo),
  });
  const keeper = button("Make keeper", () => actions.makeKeeper(photo), {
    class: "make-keeper",
    "aria-describedby": nameId,
  });
  return element("div", { class: "choice" }, element("label", {}, box, "Trash"), keeper);
}

// What stands in place of a picture that cannot be shown, and why.
export const missingPicture = (sentence) =>
  element("p", { class: "picture missing" }, element("span", {}, sentence));

// Show in a card what was decided on its photo.
export function drawVerdict(card, verdict, { canShow, canChoose }) {
  card.dataset.verdict = verdict;
  card.querySelector(".word").textContent = VERDICT_WORDS[verdict];
  const box = card.querySelector("input");
  box.checked = verdict === "trash";
  box.disabled = !canChoose;
  card.querySelector(".choice").hidden = verdict === "keeper" || !canShow;
}
