"use strict";

// What a person decides is one entry per group in `decisions`: the place of the keeper among the
// photos of the group, and the places of those for the trash. The page is drawn from it.
(() => {
  const WORDS = { keeper: "Keeper", trash: "Trash", keep: "Keep" };
  const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
  const MAX_UNDO = 200;

  const page = document.querySelector("main");
  const help = document.querySelector("dialog");
  const byId = (id) => document.getElementById(id);
  const groups = [...page.querySelectorAll(".group")].map((section) => ({
    section,
    photos: [...section.querySelectorAll(".photo")],
  }));
  const groupOf = new Map(groups.map(({ section }, number) => [section, number]));

  const boxOf = (photo) => photo.querySelector("input");
  // What could not be read has no choices: it is never trashed, and nothing while it is the keeper.
  const canChoose = (photo) => boxOf(photo) !== null;
  const proposals = () =>
    groups.map(({ photos }) => ({
      keeper: 0,
      trash: [...photos.keys()].filter((place) => boxOf(photos[place])?.defaultChecked),
    }));

  let decisions = stored() ?? proposals();
  let current = null;
  let isSaved = true;
  let isStored = true;
  const past = [];

  function stored() {
    try {
      const read = JSON.parse(localStorage.getItem(page.dataset.key));
      return Array.isArray(read) && read.length === groups.length ? read : null;
    } catch {
      return null; // storage may be forbidden, as it is for files in some browsers
    }
  }

  function store() {
    try {
      localStorage.setItem(page.dataset.key, JSON.stringify(decisions));
    } catch {
      isStored = false;
    }
  }

  function decide(changed) {
    past.push({ before: decisions, place: current });
    if (past.length > MAX_UNDO) past.shift();
    show(changed);
  }

  function decideGroup(number, change) {
    decide(decisions.map((group, other) => (other === number ? { ...group, ...change } : group)));
  }

  function undo() {
    if (!past.length) return;
    const { before, place } = past.pop();
    show(before);
    if (place) groups[place.number].photos[place.place].focus();
  }

  function show(changed) {
    const before = decisions;
    decisions = changed;
    isSaved = false;
    groups.forEach((_, number) => decisions[number] === before[number] || draw(number));
    summarise();
    store();
  }

  function verdict(number, place) {
    const { keeper, trash } = decisions[number];
    if (place === keeper) return "keeper";
    return trash.includes(place) ? "trash" : "keep";
  }

  function draw(number) {
    const { section, photos } = groups[number];
    const isOpen = canChoose(photos[decisions[number].keeper]);
    photos.forEach((photo, place) => {
      photo.dataset.verdict = verdict(number, place);
      photo.querySelector(".word").textContent = WORDS[photo.dataset.verdict];
      if (!canChoose(photo)) return;
      photo.querySelector(".choice").hidden = place === decisions[number].keeper;
      boxOf(photo).checked = photo.dataset.verdict === "trash";
      boxOf(photo).disabled = !isOpen;
    });
    section.querySelector(".keep-all").disabled = !decisions[number].trash.length;
  }

  function summarise() {
    const trashed = groups.flatMap(({ photos }, number) =>
      decisions[number].trash.map((place) => photos[place]),
    );
    const bytes = trashed.reduce((sum, photo) => sum + Number(photo.dataset.bytes), 0);
    const noun = trashed.length === 1 ? "photo" : "photos";
    byId("status").textContent =
      `${trashed.length.toLocaleString("en")} ${noun} to the trash, ${shownBytes(bytes)}`;
    byId("save").disabled = !trashed.length;
    byId("undo").disabled = !past.length;
  }

  function shownBytes(bytes) {
    const power = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3)));
    return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
  }

  function toggle(number, place) {
    const { trash } = decisions[number];
    const box = boxOf(groups[number].photos[place]);
    if (!box || box.disabled || place === decisions[number].keeper) return;
    const others = trash.filter((other) => other !== place);
    decideGroup(number, { trash: others.length < trash.length ? others : [...trash, place] });
  }

  // The two photos change places, so that as many are trashed as before; but what cannot be read
  // is not trashed.
  function makeKeeper(number, place) {
    const { keeper, trash } = decisions[number];
    const { photos } = groups[number];
    if (place === keeper || !canChoose(photos[place])) return;
    const others = trash.filter((other) => other !== place);
    const isSwap = others.length < trash.length && canChoose(photos[keeper]);
    decideGroup(number, { keeper: place, trash: isSwap ? [...others, keeper] : others });
    photos[place].focus();
  }

  function keepAll(number) {
    if (decisions[number].trash.length) decideGroup(number, { trash: [] });
  }

  // Ids are put in as text: as numbers, those above 2**53 would lose digits.
  function reviewText() {
    const idsOf = (number, places) => places.map((place) => groups[number].photos[place].dataset.id);
    const entries = decisions.flatMap(({ keeper, trash }, number) =>
      trash.length
        ? [`{"keeper_id": ${idsOf(number, [keeper])}, "copy_ids": [${idsOf(number, trash)}]}`]
        : [],
    );
    const { collection, createdAt } = page.dataset;
    return `{"collection": ${JSON.stringify(collection)}, "created_at": ${JSON.stringify(createdAt)},
 "groups": [
  ${entries.join(",\n  ")}
 ]}
`;
  }

  function save() {
    if (byId("save").disabled) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([reviewText()], { type: "application/json" }));
    link.download = "decisions.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    isSaved = true;
  }

  function mark(number, place) {
    if (current) groups[current.number].photos[current.place].classList.remove("current");
    current = { number, place };
    groups[number].photos[place].classList.add("current");
  }

  function goToGroup(step) {
    const number = current ? current.number + step : firstInView();
    if (!groups[number]) return;
    groups[number].section.scrollIntoView();
    // The first copy rather than the keeper: it is the one that waits for a decision.
    groups[number].photos[1].focus({ preventScroll: true });
  }

  function firstInView() {
    const edge = document.querySelector(".bar").getBoundingClientRect().bottom;
    return groups.findIndex(({ section }) => section.getBoundingClientRect().bottom > edge);
  }

  function goToPhoto(place) {
    if (!current) goToGroup(0);
    const photo = current && groups[current.number].photos[place(current.place)];
    photo?.focus();
  }

  const onCurrent = (action) => () => current && action(current.number, current.place);
  const keys = {
    j: () => goToGroup(1),
    k: () => goToGroup(-1),
    ArrowRight: () => goToPhoto((place) => place + 1),
    ArrowLeft: () => goToPhoto((place) => place - 1),
    x: onCurrent(toggle),
    " ": onCurrent(toggle),
    m: onCurrent(makeKeeper),
    a: onCurrent(keepAll),
    z: undo,
    s: save,
    "?": () => help.showModal(),
  };

  function actionOf(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || !byId("keys").checked) return;
    // Space presses the button that has the focus, and scrolls where no photo has it.
    if (event.key === " " && !event.target.matches(".photo")) return;
    if (/^[1-9]$/.test(event.key)) return () => goToPhoto(() => Number(event.key) - 1);
    return keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  }

  document.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    action();
  });

  function placeOf(element) {
    const number = groupOf.get(element.closest(".group"));
    return [number, groups[number]?.photos.indexOf(element.closest(".photo"))];
  }

  page.addEventListener("focusin", ({ target }) => target.closest(".photo") && mark(...placeOf(target)));
  page.addEventListener("change", ({ target }) => toggle(...placeOf(target)));
  page.addEventListener("click", ({ target }) => {
    if (target.matches(".make-keeper")) makeKeeper(...placeOf(target));
    if (target.matches(".keep-all")) keepAll(placeOf(target)[0]);
  });
  byId("accept").addEventListener("click", () => decide(proposals()));
  byId("none").addEventListener("click", () =>
    decide(decisions.map(({ keeper }) => ({ keeper, trash: [] }))),
  );
  byId("undo").addEventListener("click", undo);
  byId("save").addEventListener("click", save);
  byId("help").addEventListener("click", () => help.showModal());
  addEventListener("beforeunload", (event) => isSaved || isStored || event.preventDefault());

  document.documentElement.classList.add("live");
  groups.forEach((_, number) => draw(number));
  summarise();
})();
