// What the parts of the page share: the models and adapters that the server has.

/** @typedef {{name: string, id: string, residency: string, pinned: boolean, watched: boolean, rank: number,
 *             form: string, bytes: number, users: number, load_seconds: number, error: string}} Adapter */

export const state = {
  base: "",        // the id of the base model
  /** @type {Adapter[]} */
  adapters: [],
  residentBytes: 0,
  budgetBytes: 0,  // 0: no bound
};

const listeners = [];

/** Calls `listener` after every change of the state. */
export const onState = (listener) => listeners.push(listener);

export function changeState(changes) {
  Object.assign(state, changes);
  for (const listener of listeners) listener();
}
