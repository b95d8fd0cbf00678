// What the parts of the page share: the models and adapters that the server has.

/** @typedef {{name: string, id: string, residency: string, pinned: boolean, watched: boolean, rank: number,
 *             form: string, bytes: number, users: number, load_seconds: number, path: string, error: string}} Adapter
 *  `id` (the content's hash) is "" until it was loaded once, `error` is "" where the last load went well. */

export const state = {
  base: "",        // the id of the base model
  root: "",        // what the server was told to load as that
  /** @type {Adapter[]} */
  adapters: [],
  residentBytes: 0,
  budgetBytes: 0,  // 0: no bound
};

const strengths = new Map();  // by name, where they are not 1

/** How strongly an adapter speaks where it is asked for alone: 1, unless the drawer says otherwise. */
export const strengthOf = (name) => strengths.get(name) ?? 1;
export const setStrength = (name, value) => { strengths.set(name, value); };

/** The `model` of a request to one voice; "" is the base. */
export function modelOf(name) {
  if (name === "" || name === state.base) return state.base;
  return strengthOf(name) === 1 ? name : `${name}@${strengthOf(name)}`;
}

/** Adapters that a request can ask for. */
export const servable = () =>
    state.adapters.filter(({id, residency}) => id !== "" || residency === "ready" || residency === "on_disk");

const listeners = [];

/** Calls `listener` after every change of the state. */
export const onState = (listener) => listeners.push(listener);

export function changeState(changes) {
  Object.assign(state, changes);
  for (const listener of listeners) listener();
}
