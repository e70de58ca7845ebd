// What the decisions come to, and the buttons for all groups at once; stays in sight.

import { button, element } from "./elements.js";
import { count, counted, shownBytes } from "./format.js";

// `actions` has propose (told a basis), undo and carryOut.
export function decisionBar(actions, { allowsChanges }) {
  const status = element("p", { role: "status" });
  const propose = (basis) => button("", () => actions.propose(basis), { "data-basis": basis });
  const proposals = ["all", "pixels", "bytes", "none"].map(propose);
  const undo = button("Undo", actions.undo, { "aria-keyshortcuts": "z" });
  const label = allowsChanges ? "Move to the trash …" : "Save decisions";
  const carryOut = button(label, actions.carryOut, { class: "primary", "aria-keyshortcuts": "s" });
  const bases = element(
    "div",
    { class: "proposals", role: "group", "aria-label": "For the trash" },
    proposals,
  );
  const bar = element(
    "div",
    { class: "bar", role: "region", "aria-label": "Decisions" },
    status,
    element("div", { class: "button-row" }, undo, carryOut),
  );

  // `n_groups` is how many there are, of which `decisions.groups` are here.
  function draw(decisions, n_groups) {
    const totals = decisions.totals();
    const isComplete = decisions.groups.length === n_groups;
    const loaded = `${count(decisions.groups.length)} of ${counted(n_groups, "group")}`;
    status.textContent =
      `${counted(totals.photos, "photo")} to the trash, ${shownBytes(totals.bytes)}` +
      (isComplete ? "" : ` in ${loaded}; the others are being loaded`);
    undo.disabled = !decisions.canUndo;
    carryOut.disabled = !totals.photos || !isComplete;
    proposals.forEach((each) => drawProposal(each, decisions.basis, totals.proposed));
  }

  const hide = (isHidden) => (bases.hidden = bar.hidden = isHidden);
  return { elements: [bases, bar], hide, draw, canCarryOut: () => !bar.hidden && !carryOut.disabled };
}

const LABELS = {
  all: "Accept all proposals",
  pixels: "Only same pixels",
  bytes: "Only same bytes",
  none: "Keep everything",
};

// A choice that comes to the same as another one, or to nothing, is not offered.
function drawProposal(proposal, basis, proposed) {
  const { basis: own } = proposal.dataset;
  const others = { pixels: [proposed.all, proposed.bytes], bytes: [proposed.all] }[own] ?? [];
  proposal.hidden = own !== "none" && own !== "all" && (!proposed[own] || others.includes(proposed[own]));
  proposal.textContent = own === "none" ? LABELS.none : `${LABELS[own]} (${count(proposed[own])})`;
  proposal.setAttribute("aria-pressed", basis === own);
}
