// Sentences of the command line and the server, which put commands between backticks.

import { element } from "./elements.js";

// Return the parts of a sentence, what is between backticks as code.
export const withCode = (text) =>
  text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
