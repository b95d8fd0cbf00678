// Texts inside a PNG: a keyword and what stands behind it, in a tEXt or an iTXt chunk (PNG specification, 11.3.3).

const kMagic = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

const isPng = (bytes) => kMagic.every((value, i) => bytes[i] === value);

/** Type and data of each whole chunk. */
function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = kMagic.length; at + 12 <= bytes.length;) {
    const length = view.getUint32(at), end = at + 12 + length;
    if (end > bytes.length) return;
    yield {type: String.fromCharCode(...bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, at + 8 + length), end};
    at = end;
  }
}

const latin1 = (bytes) => Array.from(bytes, (value) => String.fromCharCode(value)).join("");

/** The text behind a keyword; null where the bytes are no PNG, or have none that is uncompressed.
 *  @param {Uint8Array} bytes */
export function pngText(bytes, keyword) {
  if (!isPng(bytes)) return null;
  for (const {type, data} of chunks(bytes)) {
    const end = data.indexOf(0);
    if (!["tEXt", "iTXt"].includes(type) || end < 0 || latin1(data.subarray(0, end)) !== keyword) continue;
    if (type === "tEXt") return latin1(data.subarray(end + 1));
    if (data[end + 1] !== 0) return null;  // compressed
    const language = data.indexOf(0, end + 3), translated = data.indexOf(0, language + 1);
    if (language < 0 || translated < 0) return null;
    return new TextDecoder().decode(data.subarray(translated + 1));
  }
  return null;
}

function crc(bytes) {
  let sum = 0xffffffff;
  for (const value of bytes) {
    sum ^= value;
    for (let bit = 0; bit < 8; ++bit) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/** The PNG with a text more, behind its header. @param {Uint8Array} bytes */
export function withPngText(bytes, keyword, text) {
  const data = new TextEncoder().encode(`iTXt${keyword}\0\0\0\0\0${text}`);
  const chunk = new Uint8Array(data.length + 8), view = new DataView(chunk.buffer);
  view.setUint32(0, data.length - 4);
  chunk.set(data, 4);
  view.setUint32(data.length + 4, crc(data));
  const {end} = chunks(bytes).next().value;
  const whole = new Uint8Array(bytes.length + chunk.length);
  whole.set(bytes.subarray(0, end));
  whole.set(chunk, end);
  whole.set(bytes.subarray(end), end + chunk.length);
  return whole;
}
