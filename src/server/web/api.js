// The server's API as the page uses it.

const kKey = "chorus.key";

export const apiKey = () => sessionStorage.getItem(kKey) ?? "";
export function setApiKey(key) {
  if (key) sessionStorage.setItem(kKey, key);
  else sessionStorage.removeItem(kKey);
}

/** What the server answered instead of 2xx: its status (0: no answer at all) and its own words. */
export class ApiError extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey()) headers.set("Authorization", `Bearer ${apiKey()}`);
  let response;
  try {
    response = await fetch(path, {...options, headers, credentials: "omit"});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, error.message);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text || response.statusText;
  try {
    message = JSON.parse(text).error?.message ?? message;
  } catch {
    // Plain text is fine too.
  }
  throw new ApiError(response.status, message, Number(response.headers.get("Retry-After")) || 0);
}

const post = (path, body, signal) => call(path, {
  method: "POST",
  headers: {"Content-Type": "application/json"},
  body: JSON.stringify(body),
  signal,
});

export const getModels = async () => (await (await call("/v1/models")).json()).data;
export const getAdapters = async () => (await call("/v1/adapters")).json();
export const getMetrics = async () => (await call("/metrics")).text();
/** "ready", "loading", "draining", or "lost" where there is no answer. */
export async function readiness() {
  try {
    const {status} = await fetch("/ready", {credentials: "omit"});
    return {200: "ready", 404: "draining"}[status] ?? "loading";
  } catch {
    return "lost";
  }
}

export const loadAdapter = (name, path, inPlace = false) =>
    post("/v1/load_lora_adapter", {lora_name: name, lora_path: path, load_inplace: inPlace});
export const unloadAdapter = (name) => post("/v1/unload_lora_adapter", {lora_name: name});
export const pinAdapter = (name, pinned) => post("/v1/adapters/pin", {name, pinned});
/** What a load would give: an adapter with `valid`, and with `error` where it is not. */
export const validateAdapter = async (path) => (await post("/v1/adapters/validate", {path})).json();

/** Files of an adapter are tried (`check`), or kept under its name and loaded. @param {File[]} files */
export async function uploadAdapter(name, files, check = false) {
  const body = new FormData();
  for (const file of files) body.append("file", file, file.name);
  const query = new URLSearchParams({name, ...(check ? {check: "true"} : {})});
  return (await call(`/v1/adapters/upload?${query}`, {method: "POST", body})).json();
}

/** Streams a chat completion: yields each event's object; ends after [DONE]. Throws ApiError. */
export async function* streamChat(body, signal) {
  const response = await post("/v1/chat/completions",
                              {...body, stream: true, stream_options: {include_usage: true}}, signal);
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(response.status, event.error.message);
    yield event;
  }
  throw new ApiError(0, "");
}

const listOf = async (path) => (await (await call(path)).json()).data;

/** Files and jobs of OpenAI's fine-tuning API. */
export async function uploadFile(file) {
  const body = new FormData();
  body.append("purpose", "fine-tune");
  body.append("file", file);
  return (await call("/v1/files", {method: "POST", body})).json();
}
export const startTuning = async (body) => (await post("/v1/fine_tuning/jobs", body)).json();
export const tuningJobs = () => listOf("/v1/fine_tuning/jobs?limit=20");
export const tuningEvents = (id) => listOf(`/v1/fine_tuning/jobs/${id}/events?limit=2000`);
export const tuningCheckpoints = (id) => listOf(`/v1/fine_tuning/jobs/${id}/checkpoints?limit=5`);
export const cancelTuning = (id) => post(`/v1/fine_tuning/jobs/${id}/cancel`, {});

/** Streams many voices over one prompt: yields each event's object; ends after [DONE]. Throws ApiError. */
export async function* streamChorus(body, signal) {
  const response = await post("/v1/chorus", {...body, stream: true}, signal);
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error && !event.voice) throw new ApiError(response.status, event.error.message);
    yield event;
  }
  throw new ApiError(0, "");
}

/** The same, as one answer: {voices, batch}. */
export const chorus = async (body, signal) => (await post("/v1/chorus", body, signal)).json();

/** Ends one voice of a chorus under way; the others go on. */
export const stopVoice = (id, voice) => post("/v1/chorus/stop", {id, voice});

/** What the server knows of its image engine. */
export const imageEngine = async () => (await call("/v1/images/engine")).json();
export const makeImage = async (body, signal) => (await post("/v1/images/generations", body, signal)).json();

/** The data of each server-sent event of a body. Characters and lines may be cut anywhere. Throws ApiError where the
 *  connection breaks. */
export async function* serverSentEvents(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "", data = [];
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, {stream: true})).split("\n");
      rest = lines.pop();
      for (let line of lines) {
        if (line.endsWith("\r")) line = line.slice(0, -1);
        if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, error.message);
  } finally {
    reader.cancel().catch(() => {});
  }
}
