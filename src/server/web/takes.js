// The takes of the story, kept in this browser (IndexedDB): what was asked, of whom, and what came of it.

/** @typedef {{id?: number, parent: number | null, created: string, premise: string, concept: string, starred: boolean,
 *             body: object, voices: {name: string, text: string, facts: object}[], batch: object | null}} Take
 *  `body` is the request to /v1/chorus that made it, seeds included; `facts` are the voice's last event. */

const kStore = "takes";
let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("chorus", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(kStore, {keyPath: "id", autoIncrement: true});
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function ask(mode, operation) {
  const store = (await open()).transaction(kStore, mode).objectStore(kStore);
  const request = operation(store);
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** All takes, the oldest first. @returns {Promise<Take[]>} */
export const allTakes = () => ask("readonly", (store) => store.getAll());
export const removeTake = (id) => ask("readwrite", (store) => store.delete(id));

/** Writes a take; a new one gets its id. @param {Take} take */
export async function putTake(take) {
  take.id = await ask("readwrite", (store) => store.put(take));
}

/** A take as a page of Markdown. @param {Take} take */
export function markdown(take) {
  const voices = take.voices.map(({name, text, facts}) => {
    const of = [facts.model, facts.seed === undefined ? "" : `seed ${facts.seed}`, facts.adapter ?? ""];
    return `## ${name}\n\n${text}\n\n_${of.filter(Boolean).join(" · ")}_\n`;
  });
  return `# ${take.premise}\n\n${take.concept}\n\n${voices.join("\n")}`;
}

/** The request that made a take, for a shell. @param {Take} take */
export function curl(take) {
  const quoted = JSON.stringify(take.body).replaceAll("'", "'\\''");
  return `curl -N ${location.origin}/v1/chorus -H 'Content-Type: application/json' -d '${quoted}'`;
}

/** Offers a text as a file. */
export function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
