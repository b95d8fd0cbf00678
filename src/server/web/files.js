// Files that are dropped on the page.

const kMostFiles = 64;

const entriesOf = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

// What lies in a folder, folders inside it aside.
async function inFolder(folder) {
  const reader = folder.createReader(), files = [];
  for (let entries = await entriesOf(reader); entries.length > 0; entries = await entriesOf(reader)) {
    for (const entry of entries) if (entry.isFile && files.length < kMostFiles) files.push(await fileOf(entry));
  }
  return files;
}

/** The files of a drop, those of a folder too; `name` is the folder's, or the first file's.
 *  @param {DataTransfer} data @returns {Promise<{name: string, files: File[]}>} */
export async function droppedFiles(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...data.files];  // the list is empty once the event is over
  const folder = entries.find(({isDirectory}) => isDirectory);
  const files = folder ? await inFolder(folder) : plain;
  return {name: folder?.name ?? files[0]?.name ?? "", files};
}

/** An adapter's name out of a file's: "my data (2).jsonl" is my-data-2. */
export const nameOf = (file) => file.replace(/\.(jsonl?|csv|txt|gguf|safetensors)$/i, "").replace(/[^\w.-]+/g, "-").replace(/^[.-]+|[.-]+$/g, "").slice(0, 64) || "voice";

/** Calls `take` with what is dropped on an element: files only. @param {(data: DataTransfer) => void} take */
export function onDrop(element, take) {
  for (const kind of ["dragover", "drop"]) {
    element.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") take(event.dataTransfer);
    });
  }
}
