// Where a search is put together: words, photos of the collection, and photos that are dropped,
// pasted or chosen, each to be like or unlike, and weighed.

import { button, drawnIcon, element, iconButton } from "./elements.js";
import { thumbnailUrl } from "./format.js";
import { isPhoto, partOf } from "./url_state.js";

// What a click on a weight changes it to.
const NEXT_WEIGHT = { 1: 2, 2: 0.5 };

// Pictures of uploads by their id: the server does not give them back.
const uploaded = new Map();

// `changed(parts)` is told every change, `done()` that the keyboard goes on to what was found, and
// `failed(error)` an upload that did not work.
export function createSearchBox(page, { changed, done, failed }) {
  const { can_embed_words: takesWords, can_embed_photos: takesPhotos } = page.overview;
  let parts = [];

  const input = element("input", {
    type: "search",
    id: "words",
    "aria-label": "Search by words",
    autocomplete: "off",
    enterkeyhint: "search",
    placeholder: placeholder(takesWords, takesPhotos),
    oninput: showButtons,
  });
  const chips = element("ul", { class: "chips", "aria-label": "Searched for" });
  const file = element("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    onchange: choose,
  });
  const add = button("Add", () => take(1), { title: "Like this too (Shift+Enter)" });
  const without = button("Without", () => take(-1), { title: "Unlike this" });
  const form = element(
    "form",
    { class: "search", role: "search", onsubmit: submit },
    drawnIcon("search"),
    chips,
    input,
    add,
    without,
    takesPhotos &&
      iconButton("photo", "Search by a photo", () => file.click(), { class: "icon plain" }),
    file,
  );
  const listening = takesPhotos ? listenForPhotos(form, upload) : new AbortController();

  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      take(1);
    }
    if (event.key === "Backspace" && !input.value && parts.length) changed(parts.slice(0, -1));
    if (event.key === "ArrowDown") {
      event.preventDefault();
      done();
    }
  });

  function submit(event) {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    changed([partOf(text)]);
  }

  function take(sign) {
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    changed([...parts, partOf(text, sign)]);
  }

  function choose() {
    if (file.files.length) upload(file.files[0]);
    file.value = "";
  }

  async function upload(photo) {
    form.classList.add("waiting");
    page.announce("Sending the photo");
    try {
      const { upload_id: id } = await page.api.post("/uploads", photo);
      uploaded.set(id, URL.createObjectURL(photo));
      changed([partOf(`upload:${id}`)]);
    } catch (error) {
      failed(error);
    } finally {
      form.classList.remove("waiting");
    }
  }

  function showButtons() {
    const isMore = parts.length > 0 && input.value.trim() !== "";
    add.hidden = without.hidden = !isMore;
  }

  function picture(part) {
    if (!isPhoto(part)) return null;
    const id = part.content.slice(part.content.indexOf(":") + 1);
    const stored = page.overview.has_files && thumbnailUrl(id);
    const source = part.content.startsWith("id:") ? stored : uploaded.get(id);
    return source && element("img", { src: source, alt: "", width: 28, height: 28 });
  }

  function update(now) {
    parts = now;
    const change = (number, part) =>
      changed(parts.flatMap((other, place) => (place === number ? (part ?? []) : [other])));
    const focused = [...chips.querySelectorAll("button")].indexOf(document.activeElement);
    chips.replaceChildren(
      ...parts.map((part, number) => chip(part, picture(part), (next) => change(number, next))),
    );
    chips.hidden = !parts.length;
    // Chips are drawn anew when one is changed; who used the keyboard goes on where they were.
    if (focused >= 0) (chips.querySelectorAll("button")[focused] ?? input).focus();
    showButtons();
  }

  update(parts);
  return { element: form, update, focus: () => input.select(), leave: () => listening.abort() };
}

function placeholder(takesWords, takesPhotos) {
  if (takesWords) return takesPhotos ? "Describe or drop a photo" : "Describe a photo";
  return takesPhotos ? "Drop or choose a photo" : "Name a photo by its id, as in id:17";
}

// `change(part)` puts another part in its place, `change(null)` removes it.
function chip(part, picture, change) {
  const name = partName(part);
  const isPlus = part.sign > 0;
  const weight = String(part.weight);
  return element(
    "li",
    { class: isPlus ? "chip" : "chip minus" },
    button(drawnIcon(isPlus ? "plus" : "minus"), () => change({ ...part, sign: -part.sign }), {
      "aria-label": `${isPlus ? "Like" : "Unlike"} ${name}; change to ${isPlus ? "unlike" : "like"}`,
      title: isPlus ? "Like this" : "Unlike this",
    }),
    picture,
    element("bdi", { class: "what" }, name),
    button(`×${weight}`, () => change({ ...part, weight: NEXT_WEIGHT[weight] ?? 1 }), {
      class: "weight",
      "aria-label": `Weight ${weight} of ${name}; change to ${NEXT_WEIGHT[weight] ?? 1}`,
      title: "Weight",
    }),
    button(drawnIcon("close"), () => change(null), {
      "aria-label": `Remove ${name}`,
      title: "Remove",
    }),
  );
}

function partName({ content }) {
  if (content.startsWith("upload:")) return "your photo";
  return content.startsWith("id:") ? `photo ${content.slice(3)}` : content;
}

function listenForPhotos(form, upload) {
  const controller = new AbortController();
  const { signal } = controller;
  const photoIn = (transfer) =>
    [...(transfer?.files ?? [])].find(({ type }) => !type || type.startsWith("image/"));
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (isOver) => form.classList.toggle("over", isOver);
  addEventListener(
    "dragover",
    (event) => {
      if (!isFiles(event)) return;
      event.preventDefault();
      mark(true);
    },
    { signal },
  );
  addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false), { signal });
  addEventListener(
    "drop",
    (event) => {
      if (!isFiles(event)) return;
      event.preventDefault();
      mark(false);
      const photo = photoIn(event.dataTransfer);
      if (photo) upload(photo);
    },
    { signal },
  );
  addEventListener(
    "paste",
    (event) => {
      const photo = photoIn(event.clipboardData);
      if (!photo) return;
      event.preventDefault();
      upload(photo);
    },
    { signal },
  );
  return controller;
}
