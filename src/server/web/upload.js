// An adapter's files: chosen or dropped, tried by the server, and kept and loaded by it.
import * as api from "./api.js";
import {$, note} from "./dom.js";
import {droppedFiles, nameOf, onDrop} from "./files.js";
import {bytes, t} from "./i18n.js";

/** @type {File[]} */
let files = [];
let busy = false;
let onLoaded = async () => {};

const fitText = ({rank, bytes: size}) => t("load.fits", {rank: rank ?? "?", bytes: bytes(size ?? 0)});

function problemText(error) {
  if ([401, 403].includes(error.status)) return t("adapters.denied");
  return error.status === 0 ? t("chat.broken") : error.message;
}

async function send(check) {
  const name = $("upload-name").value.trim();
  if (busy || files.length === 0 || !name) return;
  busy = true;
  note($("upload-result"), t(check ? "load.checking" : "load.loading"));
  try {
    const found = await api.uploadAdapter(name, files, check);
    if (check && !found.valid) throw new Error(found.error);
    note($("upload-result"), check ? fitText(found) : `${t("adapters.loaded", {name})}. ${fitText(found)}`);
  } catch (error) {
    note($("upload-result"), problemText(error), true);
  } finally {
    busy = false;
  }
  await onLoaded();
}

function take(name, taken) {
  files = taken;
  $("upload-name").value = nameOf(name);
  note($("upload-result"), taken.length === 0 ? t("upload.empty") : "", true);
}

async function dropped(data) {
  const {name, files: found} = await droppedFiles(data);
  take(name, found);
  $("upload-files").required = found.length === 0;
  $("upload-form").closest("details").open = true;
  await send(false);
}

/** @param {() => Promise<void>} loaded called after each try */
export function startUpload(loaded) {
  onLoaded = loaded;
  $("upload-files").addEventListener("change", () => {
    const chosen = [...$("upload-files").files];
    // Files of one adapter have names that all adapters share.
    const telling = chosen.find((file) => file.name.endsWith(".gguf"));
    take(telling?.name ?? "", chosen);
  });
  $("upload-check").addEventListener("click", () => $("upload-form").reportValidity() && send(true));
  $("upload-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(false);
  });
  onDrop($("adapters"), dropped);
}
