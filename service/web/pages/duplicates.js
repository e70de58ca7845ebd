// The review of duplicates: which are looked for, the groups, and what is decided on them.

import { get, isAborted, post, query } from "./api.js";
import { confirmation, saveDecisions } from "./duplicate_apply.js";
import { decisionBar } from "./duplicate_bar.js";
import { Comparison } from "./duplicate_compare.js";
import { Decisions, photosOf } from "./duplicate_decisions.js";
import { GroupList } from "./duplicate_groups.js";
import { duplicatePages, runningState, summarySentences } from "./duplicate_loading.js";
import { addressOf, questionForm, questionOf } from "./duplicate_question.js";
import { button, element } from "./elements.js";
import { withCode } from "./sentences.js";
import { emptyState, errorState } from "./states.js";
import { movedOutcome, restoredOutcome } from "./trash_outcome.js";

const SAVING =
  "This server moves nothing: save your decisions, then run `isophote duplicates --apply " +
  "--reviewed decisions.json` where that file is. Started with `isophote serve --allow-changes` " +
  "it would move the photos itself.";

const LOOSER = { near: "Look for near-duplicates", similar: "Look for similar photos" };

const CHANGED = "The collection has changed since they were looked for.";

export async function show(container, parameters, page) {
  const review = new Review(container, page);
  review.ask(questionOf(parameters));
  return {
    leave: () => review.leave(),
    update: (changed) => review.ask(questionOf(changed)),
    photoClosed: () => review.refocus(),
    keys: review.keys,
  };
}

class Review {
  #page;
  #question;
  #found;
  #decisions;
  #list;
  #comparison;
  #request = new AbortController();
  #hasLeft = false;
  #form;
  #bar;
  #outcome = element("div", { class: "outcomes" });
  #summary = element("div", { class: "summary" });
  #running = runningState();
  #groups = element("div");

  constructor(container, page) {
    this.#page = page;
    this.#form = questionForm((question) => page.go(addressOf(question)));
    const { allows_changes: allowsChanges } = page.overview;
    const actions = {
      propose: (basis) => this.#decisions.propose(basis),
      undo: () => this.#undo(),
      carryOut: () => this.#carryOut(),
    };
    this.#bar = decisionBar(actions, { allowsChanges });
    container.append(
      element("h1", {}, "Duplicates"),
      this.#form.element,
      this.#outcome,
      this.#summary,
      ...this.#bar.elements,
      this.#groups,
    );
  }

  get keys() {
    const onCurrent = (action) => () => this.#list?.current && action(this.#list.current);
    const isMoving = this.#page.overview.allows_changes;
    return {
      j: { does: "next group", action: () => this.#list?.goToGroup(1) },
      k: { does: "previous group", action: () => this.#list?.goToGroup(-1) },
      ArrowRight: { does: "photo to the right", action: () => this.#list?.goToPhoto(1) },
      ArrowLeft: { does: "photo to the left", action: () => this.#list?.goToPhoto(-1) },
      "1 … 9": { does: "photo of that number" },
      x: {
        does: "choose between trash and keep",
        action: onCurrent(({ group, photo }) => this.#decisions.toggle(group, photo.image_id)),
      },
      " ": { does: "the same" },
      m: {
        does: "make this the keeper",
        action: onCurrent(({ group, photo }) => this.#decisions.makeKeeper(group, photo.image_id)),
      },
      a: {
        does: "keep all of the group",
        action: onCurrent(({ group, photo }) => this.#decisions.keepAll(group, photo.image_id)),
      },
      c: {
        does: "compare with the keeper",
        action: onCurrent(({ group, photo }) => this.#comparison.show(group, photo)),
      },
      Enter: { does: "open the photo" },
      z: { does: "undo", action: () => this.#undo() },
      s: {
        does: isMoving ? "move to the trash, after asking" : "save decisions",
        action: () => this.#carryOut(),
      },
    };
  }

  // Look for what a question asks; `again` looks again at a collection that has changed.
  async ask(question, { again = false } = {}) {
    this.#stop();
    this.#question = question;
    this.#form.draw(question);
    this.#running.draw({ n_total: 0 });
    this.#groups.replaceChildren(this.#running.element);
    const options = { again, signal: this.#request.signal, onProgress: this.#running.draw };
    try {
      for await (const found of duplicatePages(question, options)) this.#add(found);
    } catch (error) {
      if (!isAborted(error)) this.#showError(error);
    }
  }

  leave() {
    this.#hasLeft = true;
    this.#stop();
  }

  refocus() {
    if (this.#list?.current) this.#list.goToPhoto(0);
  }

  #stop() {
    this.#request.abort();
    this.#request = new AbortController();
    this.#list?.close();
    this.#list = this.#decisions = this.#comparison = this.#found = null;
    this.#summary.replaceChildren();
    this.#bar.hide(true);
  }

  #showError(error) {
    this.#groups.replaceChildren(errorState(error, () => this.ask(this.#question)));
  }

  #add(found) {
    if (found.offset === 0) this.#start(found);
    if (!found.n_groups) return;
    this.#decisions.groups.push(...found.groups);
    this.#list.add(found.groups);
    this.#bar.draw(this.#decisions, found.n_groups);
  }

  #start(found) {
    this.#found = found;
    const sentences = summarySentences(found);
    this.#page.announce(sentences[0]);
    if (!found.n_groups) {
      this.#groups.replaceChildren(nothingFound(this.#question, sentences));
      return;
    }
    const { created_at: createdAt } = this.#page.overview.info;
    const key = `isophote-duplicates ${createdAt} ${query(this.#question)}`;
    // A photo that cannot be shown may be told of late, when other groups are shown.
    const decisions = new Decisions(key, (groups) => {
      if (decisions === this.#decisions) this.#redraw(groups);
    });
    this.#decisions = decisions;
    this.#list?.close();
    this.#list = new GroupList(decisions, {
      compare: (group, photo) => this.#comparison.show(group, photo),
      open: (group, photo) => this.#open(group, photo),
    });
    this.#comparison = new Comparison(decisions, this.#list);
    this.#summary.replaceChildren(...this.#summaryLines(sentences));
    this.#bar.hide(false);
    this.#groups.replaceChildren(this.#list.element, this.#comparison.element);
  }

  #summaryLines(sentences) {
    const again = button("Look again", () => this.ask(this.#question, { again: true }));
    return [
      ...sentences.map((told) => element("p", {}, told)),
      !this.#page.overview.allows_changes && element("p", {}, withCode(SAVING)),
      !this.#found.is_current && element("p", { class: "button-row" }, CHANGED, again),
    ].filter(Boolean);
  }

  #redraw(groups) {
    this.#list.draw(groups);
    this.#bar.draw(this.#decisions, this.#found.n_groups);
    this.#comparison.draw();
  }

  #open(group, photo) {
    this.#page.openPhoto(photo.image_id, photosOf(group).map(({ image_id }) => image_id));
  }

  #undo() {
    const place = this.#decisions?.undo();
    if (place) this.#list.goTo(place.group, place.id);
  }

  async #carryOut() {
    if (!this.#bar.canCarryOut()) return;
    const groups = this.#decisions.reviewed();
    if (!this.#page.overview.allows_changes) {
      saveDecisions(this.#page.overview, groups);
      this.#page.announce("Saved decisions.json.");
    } else if (await confirmation(this.#groups, this.#decisions.totals())) {
      await this.#move(groups);
    }
  }

  async #move(groups) {
    await this.#change("Moving to the trash …", async () => {
      const summary = await post("/duplicates/apply", {
        created_at: this.#page.overview.info.created_at,
        groups,
      });
      const undo = button("Undo", () => this.#bringBack(summary.run));
      return movedOutcome(summary, ...(summary.run === null ? [] : [undo]));
    });
  }

  async #bringBack(run) {
    await this.#change("Bringing back …", async () =>
      restoredOutcome(await post("/trash/undo", { run })),
    );
  }

  // Show what a change did, or why it failed; what is left of the groups comes anew.
  async #change(told, change) {
    this.#stop();
    this.#groups.replaceChildren();
    this.#outcome.replaceChildren(element("p", { class: "outcome", role: "status" }, told));
    try {
      this.#outcome.replaceChildren(await change());
    } catch (error) {
      this.#outcome.replaceChildren(errorState(error, () => this.#change(told, change)));
    }
    if (this.#hasLeft) return;
    this.#outcome.firstChild.focus();
    this.ask(this.#question);
    await this.#noteVersion();
  }

  // What this page changed itself need not be told as news.
  async #noteVersion() {
    try {
      this.#page.overview = await get("/collection");
    } catch {
      // Then it is.
    }
  }
}

function nothingFound(question, sentences) {
  const looser = { bytes: "near", pixels: "near", near: "similar" }[question.tier];
  const link = (changed, text) => {
    const href = `/?${query(addressOf({ ...question, ...changed }))}`;
    return element("a", { class: "button", href }, text);
  };
  return emptyState(
    "No duplicates",
    sentences.join(" "),
    ...[
      looser && link({ tier: looser }, LOOSER[looser]),
      question.where && link({ where: null }, "Look among all photos"),
    ].filter(Boolean),
  );
}
