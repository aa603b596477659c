// Server-sent events over fetch, which can carry a key where EventSource cannot.
import { request, Unreachable } from "./api.js";

const SILENCE_MS = 40_000; // the server says something every 15 s

/**
 * Reads until the server ends the stream. Throws what `request` does, or when the connection breaks or is silent.
 * @param {string[]} jobIds
 * @param {(event: string, data: any) => void} take
 * @param {AbortSignal} signal
 */
export async function follow(jobIds, take, signal) {
  const query = jobIds.map((id) => `job=${encodeURIComponent(id)}`).join("&");
  const silence = new AbortController();
  const giveUp = () => silence.abort(new Unreachable("The server is silent."));
  let timer = setTimeout(giveUp, SILENCE_MS);
  try {
    const answer = await request(`studio/events?${query}`, { signal: AbortSignal.any([signal, silence.signal]) });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(giveUp, SILENCE_MS);
      text += decoder.decode(value, { stream: true });
      const blocks = text.split("\n\n");
      text = /** @type {string} */ (blocks.pop());
      for (const block of blocks) tell(block, take);
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {string} block
 * @param {(event: string, data: any) => void} take
 */
function tell(block, take) {
  let event = "";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (event) take(event, JSON.parse(data));
}
