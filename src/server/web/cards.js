// Character cards: version 2 and 3 (a JSON document, or one inside a PNG as base64), and version 1's flat fields.
import {pngText} from "./png.js";
import {t} from "./i18n.js";

/** @typedef {{name: string, voice: string, mood: string, about: string}} Character
 *  `voice` is an adapter's name, "" the base; `mood` is one of npc.js's; `about` is who they are. */

const kMostFile = 16 << 20, kMostText = 4000, kMostName = 64;

const text = (value) => (typeof value === "string" ? value.trim() : "");

// What is in the file as an object; null where there is none.
function readJson(bytes) {
  for (const keyword of ["ccv3", "chara"]) {
    const inside = pngText(bytes, keyword);
    if (inside === null) continue;
    const raw = Uint8Array.from(atob(inside.trim()), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(raw));
  }
  return JSON.parse(new TextDecoder("utf-8", {fatal: true}).decode(bytes));
}

/** A character out of a card. Throws where the file is none. @param {File} file @returns {Promise<Character>} */
export async function readCard(file) {
  let card = null;
  try {
    if (file.size <= kMostFile) card = readJson(new Uint8Array(await file.arrayBuffer()));
  } catch {
    // Said below.
  }
  const fields = card?.data ?? card;
  const name = text(fields?.name).slice(0, kMostName);
  const parts = [fields?.system_prompt, fields?.description, fields?.personality, fields?.scenario].map(text).filter(Boolean);
  if (!name || parts.length === 0) throw new Error(t("npc.no_card", {name: file.name}));
  const about = parts.join("\n").replace(/\{\{char\}\}/gi, name).replace(/\{\{user\}\}/gi, t("npc.player")).slice(0, kMostText);
  return {name, voice: "", mood: "calm", about};
}

/** A character as a card of version 2. @param {Character} character */
export const asCard = ({name, about}) => JSON.stringify({
  spec: "chara_card_v2",
  spec_version: "2.0",
  data: {name, description: about, personality: "", scenario: "", first_mes: "", mes_example: "", creator_notes: "",
         system_prompt: "", post_history_instructions: "", alternate_greetings: [], tags: [], creator: "",
         character_version: "", extensions: {}},
}, null, 2);
