// What a person decides on the groups of one question, and what is proposed before.
//
// Decisions are the proposals of a basis ("all", "pixels", "bytes", "none") and, per group that was
// decided on, its keeper and the photos for the trash. They are kept in the browser, so that a
// reload loses nothing; photos are named by id, as groups may be found again in another order.

const PROPOSED_TIERS = {
  all: ["bytes", "pixels", "near"],
  pixels: ["bytes", "pixels"],
  bytes: ["bytes"],
  none: [],
};
const MAX_UNDO = 200;

export const photosOf = (group) => [group.keeper, ...group.copies.map((copy) => copy.photo)];

export class Decisions {
  #key;
  #basis = "all";
  #decided = new Map();
  #past = [];
  #unseen = new Set();
  #onChange;

  // `key` names the question in the browser's storage; `onChange` is told the groups that changed,
  // null if it may be any.
  constructor(key, onChange) {
    this.#key = key;
    this.#onChange = onChange;
    this.groups = [];
    this.#restore();
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get basis() {
    return this.#decided.size ? null : this.#basis;
  }

  // Return the ids of a group's keeper and of its photos for the trash, as they stand. What cannot
  // be shown is never trashed, and nothing while it is the keeper.
  of(group) {
    const { keeper, trash } = this.#decidedOn(group) ?? this.#proposal(group);
    const isOpen = !this.#unseen.has(keeper);
    return { keeper, trash: isOpen ? trash.filter((id) => !this.#unseen.has(id)) : [] };
  }

  verdict(group, id) {
    const { keeper, trash } = this.of(group);
    if (id === keeper) return "keeper";
    return trash.includes(id) ? "trash" : "keep";
  }

  canChoose(group, id) {
    return !this.#unseen.has(id) && !this.#unseen.has(this.of(group).keeper);
  }

  canShow(id) {
    return !this.#unseen.has(id);
  }

  // Return how many photos go, their bytes, and how many copies each basis would propose.
  totals() {
    const totals = { photos: 0, bytes: 0, groups: 0, proposed: { all: 0, pixels: 0, bytes: 0 } };
    for (const group of this.groups) {
      const trash = new Set(this.of(group).trash);
      totals.groups += trash.size > 0;
      totals.photos += trash.size;
      for (const photo of photosOf(group)) {
        if (trash.has(photo.image_id)) totals.bytes += photo.file_size ?? 0;
      }
      for (const { tier } of group.copies) {
        for (const basis of Object.keys(totals.proposed)) {
          totals.proposed[basis] += PROPOSED_TIERS[basis].includes(tier);
        }
      }
    }
    return totals;
  }

  // Return what is to be moved, as the API and `isophote duplicates --reviewed` take it.
  reviewed() {
    return this.groups
      .map((group) => this.of(group))
      .filter(({ trash }) => trash.length)
      .map(({ keeper, trash }) => ({ keeper_id: keeper, copy_ids: trash }));
  }

  toggle(group, id) {
    const { keeper, trash } = this.of(group);
    if (id === keeper || !this.canChoose(group, id)) return;
    const others = trash.filter((other) => other !== id);
    this.#decide(group, id, {
      keeper,
      trash: others.length < trash.length ? others : [...trash, id],
    });
  }

  // The two photos change places, so that as many are trashed as before; but what cannot be shown
  // is not trashed.
  makeKeeper(group, id) {
    const { keeper, trash } = this.of(group);
    if (id === keeper || this.#unseen.has(id)) return;
    const others = trash.filter((other) => other !== id);
    const isSwap = others.length < trash.length && this.canShow(keeper);
    this.#decide(group, id, { keeper: id, trash: isSwap ? [...others, keeper] : others });
  }

  // `id` is the photo from which it was asked for: undo comes back to it.
  keepAll(group, id) {
    const { keeper, trash } = this.of(group);
    if (trash.length) this.#decide(group, id, { keeper, trash: [] });
  }

  // Forget what was decided, and propose by a basis.
  propose(basis) {
    this.#remember(null);
    this.#basis = basis;
    this.#decided = new Map();
    this.#changed(null);
  }

  // Take back the last decision; return the group and the photo it was about, if it was about one.
  undo() {
    const before = this.#past.pop();
    if (!before) return null;
    this.#basis = before.basis;
    this.#decided = before.decided;
    this.#changed(before.place && [before.place.group]);
    return before.place;
  }

  // Take note that a photo cannot be shown.
  cannotShow(group, id) {
    this.#unseen.add(id);
    this.#onChange([group]);
  }

  // Return what was decided on a group, but for photos that have left it since.
  #decidedOn(group) {
    const decision = this.#decided.get(group.keeper.image_id);
    if (!decision) return null;
    const ids = new Set(photosOf(group).map((photo) => photo.image_id));
    if (!ids.has(decision.keeper)) return null;
    return { keeper: decision.keeper, trash: decision.trash.filter((id) => ids.has(id)) };
  }

  #proposal(group) {
    const tiers = PROPOSED_TIERS[this.#basis];
    const trash = group.copies
      .filter((copy) => tiers.includes(copy.tier))
      .map((copy) => copy.photo.image_id);
    return { keeper: group.keeper.image_id, trash };
  }

  #decide(group, id, decision) {
    this.#remember({ group, id });
    this.#decided = new Map(this.#decided).set(group.keeper.image_id, decision);
    this.#changed([group]);
  }

  #remember(place) {
    this.#past.push({ basis: this.#basis, decided: this.#decided, place });
    if (this.#past.length > MAX_UNDO) this.#past.shift();
  }

  #changed(groups) {
    this.#store();
    this.#onChange(groups);
  }

  #store() {
    try {
      const kept = { basis: this.#basis, decided: [...this.#decided] };
      localStorage.setItem(this.#key, JSON.stringify(kept));
    } catch {
      // Storage may be forbidden or full: decisions then last as long as the page.
    }
  }

  #restore() {
    try {
      const { basis, decided } = JSON.parse(localStorage.getItem(this.#key));
      if (basis in PROPOSED_TIERS) this.#basis = basis;
      this.#decided = new Map(decided);
    } catch {
      this.#decided = new Map();
    }
  }
}
