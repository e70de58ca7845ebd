// What is asked before decisions are carried out, and saving them where this server moves nothing.

import { saveFile } from "./downloads.js";
import { element } from "./elements.js";
import { counted, shownBytes } from "./format.js";
import { withCode } from "./sentences.js";

// Say what will happen; resolve whether it was confirmed.
export function confirmation(container, totals) {
  const photos = counted(totals.photos, "photo");
  const dialog = element(
    "dialog",
    { class: "confirm", "aria-labelledby": "confirm-title" },
    element("h2", { id: "confirm-title" }, `Move ${photos} to the trash?`),
    element(
      "p",
      {},
      withCode(
        `${photos} of ${counted(totals.groups, "group")}, ${shownBytes(totals.bytes)}, move to the ` +
          "folder `.isophote-trash` of the indexed folder they lie in. Each is compared with the " +
          "index before, and stays where it is if it or its keeper has changed.",
      ),
    ),
    element("p", {}, withCode("Nothing is deleted: Undo, here or as `isophote undo`, brings them back.")),
    element(
      "form",
      { method: "dialog", class: "button-row" },
      element("button", { class: "danger", value: "move" }, `Move ${photos}`),
      element("button", { value: "", autofocus: true }, "Cancel"),
    ),
  );
  container.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "move");
    });
  });
}

// Save decisions as `isophote duplicates --apply --reviewed decisions.json` reads them.
export function saveDecisions(overview, groups) {
  const { collection, info } = overview;
  const review = { collection, created_at: info.created_at, groups };
  saveFile("decisions.json", "application/json", `${JSON.stringify(review, null, 1)}\n`);
}
