// What this browser keeps of the page (IndexedDB): the takes of stories, and what stands in the other rooms.

/** @typedef {{blob: Blob, prompt: string, sent: string, seed: number, width: number, height: number, style: string,
 *             elapsed: number}} Picture  `sent` is the prompt as it went to the engine
 *  @typedef {{id?: number, parent: number | null, created: string, premise: string, concept: string, starred: boolean,
 *             locked: boolean, body: object, voices: import("./voices.js").Voice[], batch: object | null, measured?: {together: number, apart: number},
 *             pictures: Picture[]}} Take
 *  `body` is the request to /v1/chorus that made it, seeds included: of the voices that were asked anew; a voice that was
 *  kept has `from`, the take that it is of. `measured`: seconds of the same,
 *  once more and one by one. */

const kTakes = "takes", kRooms = "rooms";
const kSoon = 300;  // ms
let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("chorus", 2);
    request.onupgradeneeded = ({oldVersion}) => {
      if (oldVersion < 1) request.result.createObjectStore(kTakes, {keyPath: "id", autoIncrement: true});
      if (oldVersion < 2) request.result.createObjectStore(kRooms);
    };
    request.onsuccess = () => {
      // A page of a newer version asks for the store: this one lets go of it.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function ask(name, mode, operation) {
  const request = operation((await open()).transaction(name, mode).objectStore(name));
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** All takes, the oldest first. @returns {Promise<Take[]>} */
export async function allTakes() {
  const takes = await ask(kTakes, "readonly", (store) => store.getAll());
  return takes.map((take) => ({locked: false, pictures: [], ...take}));
}
export const removeTake = (id) => ask(kTakes, "readwrite", (store) => store.delete(id));

/** Writes a take; a new one gets its id. @param {Take} take */
export async function putTake(take) {
  take.id = await ask(kTakes, "readwrite", (store) => store.put(take));
}

/** What stands in a room; null where nothing was kept, or this browser keeps nothing. */
export async function loadRoom(name) {
  try {
    return (await ask(kRooms, "readonly", (store) => store.get(name))) ?? null;
  } catch {
    return null;
  }
}
export const saveRoom = (name, value) => ask(kRooms, "readwrite", (store) => store.put(value, name)).catch(() => {});

/** A function that keeps what `read` gives of a room, soon after it was last called: for boxes that are typed in. */
export function keeper(name, read) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => saveRoom(name, read()), kSoon);
  };
}
