// What counts as alike, among which photos, and which are rather kept: the form above the groups.

import { get } from "./api.js";
import { button, element, iconButton } from "./elements.js";
import { count, shownText } from "./format.js";
import { withCode } from "./sentences.js";

const TIERS = {
  bytes: ["Same bytes", "equal files"],
  pixels: ["Same pixels", "also the same picture in another file"],
  near: ["Near", "also resized, saved anew, mirrored, turned, lightly cropped or edited"],
  similar: ["Similar", "also photos that only look alike; of those, none is proposed for the trash"],
};
const STRICTNESSES = {
  strict: "strict: 1 photo in 10,000 paired wrongly",
  normal: "normal: 1 photo in 1,000 paired wrongly",
  loose: "loose: 1 photo in 100 paired wrongly",
};

const WHERE = "Only photos for which this holds, as in `taken_at < date '2020-01-01'`";

const hashes = (tier) => tier === "bytes" || tier === "pixels";

// Return the question that an address asks, as the API takes it.
export function questionOf(parameters) {
  const tier = parameters.get("tier") ?? "near";
  return {
    tier,
    strictness: hashes(tier) ? null : (parameters.get("strictness") ?? "normal"),
    where: parameters.get("where"),
    prefer: parameters.getAll("prefer"),
  };
}

// The address that asks a question; what is as it is by default is left out.
export function addressOf({ tier, strictness, where, prefer }) {
  return {
    view: "duplicates",
    tier: tier === "near" ? null : tier,
    strictness: strictness === "normal" ? null : strictness,
    where,
    prefer,
  };
}

// Return the form, { element, draw(question) }; `onChange` is told another question.
export function questionForm(onChange) {
  let question;
  const change = (changed) => onChange({ ...question, ...changed });
  const tiers = tierChoice((tier) => change({ tier }));
  const strictness = select(STRICTNESSES, (chosen) => change({ strictness: chosen }));
  const where = element("input", { type: "text", id: "duplicates-where", spellcheck: "false" });
  const preferred = preferredFolders((prefer) => change({ prefer }));
  const strictnessLabel = element("label", {}, "Strictness ", strictness);
  const form = element(
    "form",
    { class: "question", onsubmit: (event) => submit(event, () => change({ where: where.value.trim() })) },
    tiers.element,
    tiers.told,
    element(
      "details",
      { ontoggle: ({ target }) => target.open && preferred.load() },
      element("summary", {}, "More choices"),
      element(
        "div",
        { class: "more-choices" },
        strictnessLabel,
        element(
          "div",
          {},
          element("label", { for: where.id }, ...withCode(WHERE)),
          element("div", { class: "button-row" }, where, element("button", {}, "Look")),
        ),
        preferred.element,
      ),
    ),
  );

  function draw(asked) {
    question = asked;
    tiers.choose(asked.tier);
    strictness.value = asked.strictness ?? "normal";
    strictnessLabel.hidden = hashes(asked.tier);
    where.value = asked.where ?? "";
    preferred.draw(asked.prefer);
    const isNarrowed = asked.where || asked.prefer.length || strictness.value !== "normal";
    if (isNarrowed) form.querySelector("details").open = true;
  }

  return { element: form, draw };
}

function submit(event, action) {
  event.preventDefault();
  action();
}

function tierChoice(onChoose) {
  const told = element("p", { class: "told" });
  const choices = Object.entries(TIERS).map(([tier, [name]]) => {
    const attributes = { type: "radio", name: "tier", value: tier };
    return element("label", {}, element("input", { ...attributes, onchange: () => onChoose(tier) }), name);
  });
  const fieldset = element(
    "fieldset",
    { class: "tiers" },
    element("legend", {}, "How much alike"),
    element("div", { class: "segments" }, choices),
  );
  const choose = (tier) => {
    for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === tier;
    told.textContent = TIERS[tier]?.[1] ?? "";
  };
  return { element: fieldset, told, choose };
}

function select(options, onChoose) {
  const choices = Object.entries(options).map(([value, text]) => element("option", { value }, text));
  return element("select", { onchange: ({ target }) => onChoose(target.value) }, choices);
}

// Folders whose photos are kept rather than others, the most preferred first.
function preferredFolders(onChange) {
  let prefer = [];
  let isLoaded = false;
  const chosen = element("ol", { class: "preferred" });
  const choice = element("select", { id: "duplicates-prefer" });
  const add = button("Prefer it", () => choice.value && onChange([...prefer, choice.value]));

  async function load() {
    if (isLoaded) return;
    try {
      const { folders } = await get("/folders");
      choice.replaceChildren(element("option", { value: "" }, "Choose a folder"), ...folders.map(option));
      isLoaded = true;
    } catch (error) {
      choice.replaceChildren(element("option", { value: "" }, error.message));
    }
  }

  function draw(folders) {
    prefer = folders;
    choice.value = "";
    chosen.replaceChildren(...folders.map(entry));
  }

  function option({ root, folder, n_images }) {
    const path = folder ? `${root}/${folder}` : root;
    return element("option", { value: path }, `${shownText(path)} (${count(n_images)})`);
  }

  function entry(folder, place) {
    const remove = () => onChange(prefer.filter((_, other) => other !== place));
    const name = shownText(folder);
    return element("li", {}, element("bdi", {}, name), iconButton("close", `Do not prefer ${name}`, remove));
  }

  const made = element(
    "div",
    {},
    element("label", { for: choice.id }, "Keep photos in this folder rather than others"),
    element("div", { class: "button-row" }, choice, add),
    chosen,
  );
  return { element: made, load, draw };
}
