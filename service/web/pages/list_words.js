// What is said above a list of photos, and instead of one.

import { button, element } from "./elements.js";
import { count, counted } from "./format.js";
import { emptyState } from "./states.js";
import { MAX_FOUND } from "./url_state.js";

const SCORE_HOW = "isophote anomalies fit usual --examples FOLDER\nisophote anomalies score usual";

export function title({ parts, list, order }, length, { n_images: all }) {
  if (list === "quality") return order === "best" ? "Best quality" : "Low quality";
  if (list === "anomalies") return "Outliers";
  if (parts.length) return "Closest first";
  return length < all ? `${count(length)} of ${counted(all, "photo")}` : counted(length, "photo");
}

// `answer` is what the server said of the list's first page.
export function note({ list, parts }, { length, answer }) {
  const photos = counted(length, "photo");
  if (list === "quality") {
    return `${photos} by technical quality. It knows nothing of what a picture shows: look before you delete.`;
  }
  if (list === "anomalies")
    return `${photos} by how little they belong, by the reference “${answer.reference}”.`;
  if (!parts.length) return "";
  const { n_searched: n, space } = answer;
  const among =
    length === MAX_FOUND && n > length
      ? `The closest ${count(length)} of ${counted(n, "photo")}`
      : photos;
  return `${among}, compared in ${space}.`;
}

// What stands where there is nothing to ask for; null where there is.
export function nothingToAsk({ parts, list }, { n_scored }, { addWords, showAll }) {
  if (list === "anomalies" && !n_scored) return noScores();
  if (!parts.length || parts.some(({ sign }) => sign > 0)) return null;
  return emptyState(
    "Unlike what?",
    "A search also needs something that photos should be like: add words or a photo.",
    button("Add words", addWords, { class: "primary" }),
    button("Show all photos", showAll),
  );
}

// What stands where nothing was found. `removeFilters` is null if there are none.
export function nothingFound({ list }, { n_images }, removeFilters) {
  if (!n_images) {
    const how = "Index a folder of photos, and they appear here:\nisophote index ~/Pictures";
    return emptyState("No photos yet", how);
  }
  if (!removeFilters) {
    return emptyState(
      "No photos here",
      list === "quality" ? "No photo of this collection has a quality." : null,
    );
  }
  const remove = button("Remove the filters", removeFilters, { class: "primary" });
  return emptyState("No photo matches", "None of the photos passes all the filters.", remove);
}

function noScores() {
  const state = emptyState(
    "No photo has an anomaly score yet",
    "Say with a few examples which photos are normal, and score all by them. FOLDER has a folder " +
      "of normal photos for each class; without --examples the names of ImageNet that cover the " +
      "collection are the classes.",
  );
  state.append(element("pre", { tabindex: "0", "aria-label": "Commands" }, SCORE_HOW));
  return state;
}
