/**
 * This tab's name, which it keeps over reloads, and the names of the other tabs that are open.
 *
 * A duplicated tab begins with its twin's name; asking who is there finds that out.
 */

const KEY = "gtx:tab";
const ANSWER_WITHIN_MS = 80;

/** Random, for names and request ids; also where the page is no secure context and `randomUUID` is missing. */
export function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

export interface Tab {
  name: string;
  /** The names of others that were open when this one began. */
  others: Set<string>;
  began_ms: number;
}

/** Another tab that has not sent something after this time will not. */
export const ORPHANED_AFTER_MS = 15_000;

/** Whether this tab is to send it: it is its own, or of a tab that is gone. */
export function isOurs(tab: Tab, entry: { tab: string; at_ms: number }, nowMs: number): boolean {
  if (entry.tab === tab.name) return true;
  const leftBehind = entry.at_ms < tab.began_ms && !tab.others.has(entry.tab);
  return leftBehind || nowMs - entry.at_ms > ORPHANED_AFTER_MS;
}

export async function thisTab(): Promise<Tab> {
  const channel = new BroadcastChannel("gtx-tabs");
  const asker = randomName();
  let name = sessionStorage.getItem(KEY) ?? randomName();
  const others = new Set<string>();
  channel.onmessage = ({ data }: MessageEvent<{ kind: "who" | "me"; asker: string; name: string }>) => {
    if (data.kind === "who") channel.postMessage({ kind: "me", asker: data.asker, name });
    else if (data.asker === asker) others.add(data.name);
  };
  channel.postMessage({ kind: "who", asker, name });
  await new Promise((resolve) => setTimeout(resolve, ANSWER_WITHIN_MS));
  if (others.has(name)) name = randomName();
  sessionStorage.setItem(KEY, name);
  return { name, others, began_ms: Date.now() };
}
