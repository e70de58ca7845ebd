// What stands where photos would: nothing yet, nothing at all, or what went wrong.

import { button, element } from "./elements.js";

// `actions` are buttons or links.
export function emptyState(title, text, ...actions) {
  return element(
    "div",
    { class: "state" },
    element("h2", {}, title),
    text && element("p", {}, text),
    actions.length > 0 && element("div", { class: "actions" }, ...actions),
  );
}

// On the command line it stands behind "Error: ".
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Says the server's sentence; `actions` stand beside "Try again".
export function errorState(error, tryAgain, ...actions) {
  const state = emptyState(
    "This did not work",
    sentence(error.message),
    button("Try again", tryAgain, { class: "primary" }),
    ...actions,
  );
  state.classList.add("error");
  state.setAttribute("role", "alert");
  return state;
}

export function loadingState(text = "Loading …") {
  return element("p", { class: "state loading", role: "status" }, text);
}
